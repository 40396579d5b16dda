package service

import (
	"encoding/json"
	"fmt"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/resource"
)

// notCaptured refuses while a backup or a restore point of a VM is made.
func notCaptured(tx *catalog.Tx, vm, name string) error {
	if err := job.Idle(tx, creationOf(vm), name); err != nil {
		return err
	}
	return notBackedUp(tx, vm, name)
}

// notBackedUp refuses while a backup of a VM runs.
func notBackedUp(tx *catalog.Tx, vm, name string) error {
	item, _, err := catalog.Read[string](tx, claim(vm))
	if holdfast.KindOf(err) == holdfast.NotFound && err != nil {
		return nil
	}
	if err != nil {
		return err
	}
	return job.Idle(tx, backupOf(item), name)
}

// claim is the row that lets a VM be protected once only, in whatever vault.
func claim(vm string) string { return "/protected" + vm }

// creationOf is what the making of a VM's restore points holds, one at a time
// (RPL-03).
func creationOf(vm string) string { return "restorepoint:" + vm }

// notSnapshot refuses while a backup takes its snapshot of a VM, which is a
// restore point, too (RPL-03). One that has it, and copies it to its vault, is in
// nobody's way.
func notSnapshot(tx *catalog.Tx, vm VM) error {
	item, _, err := catalog.Read[string](tx, claim(vm.ID))
	if err != nil {
		return resource.NotThere(err)
	}
	running, err := job.List(tx, job.Filter{Subject: item, Operation: "Backup", Running: true})
	if err != nil {
		return err
	}
	for _, j := range running {
		var a holdfast.BackupArgs
		if err := json.Unmarshal(j.Args, &a); err != nil {
			return fmt.Errorf("args of job %s: %w", j.ID, err)
		}
		if _, err := tx.Get(resource.PointID(item, a.PointID)); err == nil {
			continue // its snapshot is there
		}
		return holdfast.Errorf(holdfast.Conflict, vm.Name, "A backup of %q is already running and takes its snapshot: %s.", vm.Name, j.ID).WithHint("Try again when it transfers its data.")
	}
	return nil
}

// backupOf is what the jobs that write an item's points hold, one at a time.
func backupOf(item string) string { return "backup:" + item }
