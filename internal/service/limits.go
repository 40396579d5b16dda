package service

import (
	"encoding/json"
	"fmt"
	"time"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/matrix"
	"holdfast/internal/support"
)

// Limits says whether the limits hold that Azure has as a service and that no
// machine needs. Which they are is said by the rows of the support matrix that
// can be lifted; those that the rules know are in this file.
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

// CancelLate are the kinds of jobs that may be cancelled in every phase: Azure
// lets no backup be that transfers data (ACT-05).
func (l Limits) CancelLate() []string {
	if l.lifts("ACT-05") {
		return []string{kindBackup}
	}
	return nil
}

// lifted is how a refusal says that it need not be.
const lifted = "A server with --limits extended has no such limit."

// lifts says that a row of the support matrix does not hold.
func (l Limits) lifts(row string) bool {
	r, ok := matrix.Find(row)
	return ok && r.Lift && l == ExtendedLimits
}

// supported refuses a machine that a row of the support matrix refuses. Disks
// that are left out of backups are not looked at.
func (s *Service) supported(tx *catalog.Tx, vm VM, exclude *Exclusion, guest holdfast.GuestFact) error {
	_, locked, err := lockOn(tx, vm.ID, true)
	if err != nil {
		return err
	}
	if _, _, err := s.operationalFor(tx, vm); err != nil {
		return err
	}
	return support.Refused(support.VM{VMFact: vm.VMFact, Classes: vm.site.PoolClasses, Accelerator: vm.site.WriteAccelerator, Exclude: exclude.Excluded(vm.Disks), Guest: guest, Locked: locked}, s.Limits.lifts)
}

// onDemandPerDay is how many backups of an item may be asked for in a day of UTC,
// beside the scheduled one (ACT-07). One that failed or was cancelled does not
// count: it left no point.
const onDemandPerDay = 3

// checkOnDemand refuses one backup more than a day may have.
func (s *Service) checkOnDemand(tx *catalog.Tx, i Item) error {
	if s.Limits == ExtendedLimits {
		return nil
	}
	today, err := job.List(tx, job.Filter{Subject: i.ID, Operation: "Backup", From: tx.Now().UTC().Truncate(24 * time.Hour)})
	if err != nil {
		return err
	}
	n := 0
	for _, j := range today {
		if j.State == job.Failed || j.State == job.Cancelled || j.Kind != kindBackup {
			continue
		}
		var a holdfast.BackupArgs
		if err := json.Unmarshal(j.Args, &a); err != nil {
			return fmt.Errorf("job %s: %w", j.ID, err)
		}
		if !a.Expires.IsZero() { // a scheduled one has its expiry from the policy
			n++
		}
	}
	if n < onDemandPerDay {
		return nil
	}
	return holdfast.Errorf(holdfast.Unsupported, i.VM, "The VM %q has had %d backups on demand today; %d a day (UTC) are allowed beside the scheduled one.", i.VM, n, onDemandPerDay).WithHint(lifted)
}
