// Package limits says which of the limits of Azure's service hold on this server:
// the choice of who runs it, for the rows of the support matrix that no machine
// needs. What a row limits is known where it is refused.
package service

import (
	"fmt"

	"holdfast/internal/matrix"
)

// Limits says whether the limits hold that Azure has as a service and that no
// machine needs. Which they are is said by the rows of the support matrix that
// can be lifted.
type Limits string

// The two choices.
const (
	AzureLimits    Limits = "azure"    // what Azure refuses is refused
	ExtendedLimits Limits = "extended" // only what cannot be is refused
)

// ParseLimits reads the choice; "" is azure.
func ParseLimits(s string) (Limits, error) {
	switch l := Limits(s); l {
	case "":
		return AzureLimits, nil
	case AzureLimits, ExtendedLimits:
		return l, nil
	}
	return "", fmt.Errorf("the limits are %q; they are %s or %s", s, AzureLimits, ExtendedLimits)
}

// lifted is how a refusal says that it need not be.
const lifted = "A server with --limits extended has no such limit."

// lifts says that a row of the support matrix does not hold.
func (l Limits) lifts(row string) bool {
	r, ok := matrix.Find(row)
	return ok && r.Lift && l == ExtendedLimits
}
