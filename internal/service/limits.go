package service

import (
	"encoding/json"
	"fmt"
	"time"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/limits"
	"holdfast/internal/resource"
	"holdfast/internal/support"
)

// CancelLate are the kinds of jobs that may be cancelled in every phase: Azure
// lets no backup be that transfers data (ACT-05).
func CancelLate(l limits.Choice) []string {
	if l.Lifts("ACT-05") {
		return []string{kindBackup}
	}
	return nil
}

// supported refuses a machine that a row of the support matrix refuses. Disks
// that are left out of backups are not looked at.
func (s *Service) supported(tx *catalog.Tx, vm VM, exclude *Exclusion, guest holdfast.GuestFact) error {
	_, locked, err := resource.LockOn(tx, vm.ID, true)
	if err != nil {
		return err
	}
	if _, _, err := s.operationalFor(tx, vm); err != nil {
		return err
	}
	return support.Refused(support.VM{VMFact: vm.VMFact, Classes: vm.site.PoolClasses, Accelerator: vm.site.WriteAccelerator, Exclude: exclude.Excluded(vm.Disks), Guest: guest, Locked: locked}, s.Limits.Lifts)
}

// onDemandPerDay is how many backups of an item may be asked for in a day of UTC,
// beside the scheduled one (ACT-07). One that failed or was cancelled does not
// count: it left no point.
const onDemandPerDay = 3

// checkOnDemand refuses one backup more than a day may have.
func (s *Service) checkOnDemand(tx *catalog.Tx, i Item) error {
	if s.Limits == limits.Extended {
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
	return holdfast.Errorf(holdfast.Unsupported, i.VM, "The VM %q has had %d backups on demand today; %d a day (UTC) are allowed beside the scheduled one.", i.VM, n, onDemandPerDay).WithHint(limits.Hint)
}
