// Package limits says which of the limits of Azure's service hold on this server:
// the choice of who runs it, for the rows of the support matrix that no machine
// needs. What a row limits is known where it is refused.
package limits

import (
	"fmt"

	"holdfast/internal/matrix"
)

// Choice says whether the limits hold that Azure has as a service and that no
// machine needs. Which they are is said by the rows of the support matrix that
// can be lifted.
type Choice string

// The two choices.
const (
	Azure    Choice = "azure"    // what Azure refuses is refused
	Extended Choice = "extended" // only what cannot be is refused
)

// Parse reads the choice; "" is azure.
func Parse(s string) (Choice, error) {
	switch l := Choice(s); l {
	case "":
		return Azure, nil
	case Azure, Extended:
		return l, nil
	}
	return "", fmt.Errorf("the limits are %q; they are %s or %s", s, Azure, Extended)
}

// Hint is how a refusal says that it need not be.
const Hint = "A server with --limits extended has no such limit."

// Lifts says that a row of the support matrix does not hold.
func (l Choice) Lifts(row string) bool {
	r, ok := matrix.Find(row)
	return ok && r.Lift && l == Extended
}
