package libvirt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	rpc "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"holdfast/internal/hypervisor"
)

// Agent sends one guest agent command and returns the "return" member.
func (h *Host) Agent(ctx context.Context, id string, command json.RawMessage, timeout time.Duration) (json.RawMessage, error) {
	seconds := int32(max(1, math.Ceil(timeout.Seconds())))
	return call(ctx, h, func(l *rpc.Libvirt) (json.RawMessage, error) {
		d, err := lookup(l, id)
		if err != nil {
			return nil, err
		}
		answer, err := l.QEMUDomainAgentCommand(d, string(command), seconds, 0)
		if err != nil {
			return nil, agentError(err)
		}
		if len(answer) == 0 {
			return nil, fmt.Errorf("%w: no answer", hypervisor.ErrNoAgent)
		}
		var a struct {
			Return json.RawMessage `json:"return"`
		}
		if err := json.Unmarshal([]byte(answer[0]), &a); err != nil {
			return nil, fmt.Errorf("%w: its answer is not JSON: %w", hypervisor.ErrAgentFailed, err)
		}
		return a.Return, nil
	})
}

// agentError tells "nobody there" from "there and refused". libvirt reports an
// agent's own error as an internal error, and a missing channel as unsupported.
func agentError(err error) error {
	var e rpc.Error
	if errors.As(err, &e) {
		switch rpc.ErrorNumber(e.Code) {
		case rpc.ErrInternalError:
			return fmt.Errorf("%w: %w", hypervisor.ErrAgentFailed, err)
		case rpc.ErrArgumentUnsupported, rpc.ErrOperationTimeout:
			return fmt.Errorf("%w: %w", hypervisor.ErrNoAgent, err)
		}
	}
	return err
}

// BeginBackup starts a pull-mode backup and sets its checkpoint in one instant
// (https://libvirt.org/formatbackup.html).
func (h *Host) BeginBackup(ctx context.Context, id string, b hypervisor.Backup) error {
	backup, checkpoint, err := backupXML(b)
	if err != nil {
		return err
	}
	var optional rpc.OptString
	if checkpoint != "" {
		optional = rpc.OptString{checkpoint}
	}
	return onDomain(ctx, h, id, func(l *rpc.Libvirt, d rpc.Domain) error {
		return l.DomainBackupBegin(d, backup, optional, rpc.DomainBackupBeginReuseExternal)
	})
}

// backupXML writes the two documents of BeginBackup.
func backupXML(b hypervisor.Backup) (backup, checkpoint string, err error) {
	pull := &libvirtxml.DomainBackupPull{
		Server: &libvirtxml.DomainBackupPullServer{UNIX: &libvirtxml.DomainBackupPullServerUNIX{Socket: b.Socket}},
		Disks:  &libvirtxml.DomainBackupPullDisks{},
	}
	point := &libvirtxml.DomainCheckpoint{Name: b.Checkpoint, Disks: &libvirtxml.DomainCheckpointDisks{}}
	for _, d := range b.Disks {
		x := libvirtxml.DomainBackupPullDisk{
			Name:       d.Target,
			Backup:     "yes",
			BackupMode: "full",
			ExportName: d.Target,
			Driver:     &libvirtxml.DomainBackupDiskDriver{Type: "qcow2"},
			Scratch:    &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: d.Scratch}},
		}
		if d.ScratchSecret != "" {
			x.Scratch.Encryption = &libvirtxml.DomainDiskEncryption{Format: "luks", Secrets: []libvirtxml.DomainDiskSecret{{Type: "passphrase", UUID: d.ScratchSecret}}}
		}
		if d.Since != "" {
			x.BackupMode, x.Incremental, x.ExportBitmap = "incremental", d.Since, "backup-"+d.Target
		}
		pull.Disks.Disks = append(pull.Disks.Disks, x)
		point.Disks.Disks = append(point.Disks.Disks, checkpointDisk(d.Target, d.Bitmap))
	}
	for _, target := range b.Omit {
		pull.Disks.Disks = append(pull.Disks.Disks, libvirtxml.DomainBackupPullDisk{Name: target, Backup: "no"})
		point.Disks.Disks = append(point.Disks.Disks, checkpointDisk(target, false))
	}
	if backup, err = (&libvirtxml.DomainBackup{Pull: pull}).Marshal(); err != nil {
		return "", "", err
	}
	if b.Checkpoint != "" {
		checkpoint, err = point.Marshal()
	}
	return backup, checkpoint, err
}

func checkpointDisk(target string, bitmap bool) libvirtxml.DomainCheckpointDisk {
	kind := "no"
	if bitmap {
		kind = "bitmap"
	}
	return libvirtxml.DomainCheckpointDisk{Name: target, Checkpoint: kind}
}

// BackupJob tells of the backup job that runs on the domain now.
func (h *Host) BackupJob(ctx context.Context, id string) (*hypervisor.BackupJob, error) {
	return call(ctx, h, func(l *rpc.Libvirt) (*hypervisor.BackupJob, error) {
		d, err := lookup(l, id)
		if err != nil {
			return nil, err
		}
		doc, err := l.DomainBackupGetXMLDesc(d, 0)
		if err != nil {
			if noJob(err) {
				return nil, nil
			}
			return nil, err
		}
		return parseJob(doc)
	})
}

// noJob: libvirt says VIR_ERR_NO_DOMAIN_BACKUP when no backup runs, and
// "operation invalid" when the domain is off.
func noJob(err error) bool {
	var e rpc.Error
	if !errors.As(err, &e) {
		return false
	}
	n := rpc.ErrorNumber(e.Code)
	return n == rpc.ErrNoDomainBackup || n == rpc.ErrOperationInvalid
}

func parseJob(doc string) (*hypervisor.BackupJob, error) {
	var x libvirtxml.DomainBackup
	if err := x.Unmarshal(doc); err != nil {
		return nil, fmt.Errorf("backup job XML: %w", err)
	}
	job := &hypervisor.BackupJob{}
	if x.Pull == nil {
		return job, nil
	}
	if s := x.Pull.Server; s != nil && s.UNIX != nil {
		job.Socket = s.UNIX.Socket
	}
	if x.Pull.Disks != nil {
		for _, d := range x.Pull.Disks.Disks {
			if d.Scratch != nil && d.Scratch.File != nil {
				job.Scratch = append(job.Scratch, d.Scratch.File.File)
			}
		}
	}
	return job, nil
}

// endPoll is the pause between two looks at a job that is ending. libvirt's
// abort returns before the job is gone.
const endPoll = 20 * time.Millisecond

// EndBackup ends the domain's backup job and waits until it is gone.
func (h *Host) EndBackup(ctx context.Context, id string) error {
	for asked := false; ; {
		job, err := h.BackupJob(ctx, id)
		if errors.Is(err, hypervisor.ErrNoDomain) || err == nil && job == nil {
			return nil
		}
		if err != nil {
			return err
		}
		if !asked {
			err := onDomain(ctx, h, id, func(l *rpc.Libvirt, d rpc.Domain) error { return l.DomainAbortJob(d) })
			// It may have ended by itself between the question and the abort.
			if again, err2 := h.BackupJob(ctx, id); err != nil && (err2 != nil || again != nil) {
				return err
			}
			asked = true
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(endPoll):
		}
	}
}

// Checkpoints lists the names that libvirt knows, parents first.
func (h *Host) Checkpoints(ctx context.Context, id string) ([]string, error) {
	return call(ctx, h, func(l *rpc.Libvirt) ([]string, error) {
		d, err := lookup(l, id)
		if err != nil {
			return nil, err
		}
		found, _, err := l.DomainListAllCheckpoints(d, 1, uint32(rpc.DomainCheckpointListTopological))
		if err != nil {
			return nil, err
		}
		var names []string
		for _, c := range found {
			names = append(names, c.Name)
		}
		return names, nil
	})
}

// CheckpointXML is what RedefineCheckpoint needs later, without the domain.
func (h *Host) CheckpointXML(ctx context.Context, id, name string) (string, error) {
	return call(ctx, h, func(l *rpc.Libvirt) (string, error) {
		d, err := lookup(l, id)
		if err != nil {
			return "", err
		}
		c, err := l.DomainCheckpointLookupByName(d, name, 0)
		if err != nil {
			return "", err
		}
		return l.DomainCheckpointGetXMLDesc(c, uint32(rpc.DomainCheckpointXMLNoDomain))
	})
}

// RedefineCheckpoint tells libvirt of a checkpoint again, for these targets
// only, and validates their bitmaps.
func (h *Host) RedefineCheckpoint(ctx context.Context, id, doc string, targets []string) error {
	var x libvirtxml.DomainCheckpoint
	if err := x.Unmarshal(doc); err != nil {
		return fmt.Errorf("%w: checkpoint XML: %w", hypervisor.ErrInvalid, err)
	}
	return onDomain(ctx, h, id, func(l *rpc.Libvirt, d rpc.Domain) error {
		_, err := redefine(l, d, x, targets,
			rpc.DomainCheckpointCreateRedefine|rpc.DomainCheckpointCreateRedefineValidate)
		return err
	})
}

// redefine gives libvirt a checkpoint of the domain as it is now: parents may
// be gone, and the domain of that time is not needed.
func redefine(l *rpc.Libvirt, d rpc.Domain, x libvirtxml.DomainCheckpoint, targets []string,
	flags rpc.DomainCheckpointCreateFlags) (rpc.DomainCheckpoint, error) {
	live, err := l.DomainGetXMLDesc(d, 0)
	if err != nil {
		return rpc.DomainCheckpoint{}, err
	}
	f, err := parseDomain(live)
	if err != nil {
		return rpc.DomainCheckpoint{}, err
	}
	x.Parent, x.Domain = nil, nil
	x.Disks = &libvirtxml.DomainCheckpointDisks{}
	for _, disk := range f.Disks {
		x.Disks.Disks = append(x.Disks.Disks, checkpointDisk(disk.Target, slices.Contains(targets, disk.Target)))
	}
	doc, err := x.Marshal()
	if err != nil {
		return rpc.DomainCheckpoint{}, err
	}
	return l.DomainCheckpointCreateXML(d, doc, uint32(flags))
}

// DropBitmaps removes the bitmaps of a checkpoint that libvirt does not know.
func (h *Host) DropBitmaps(ctx context.Context, id, checkpoint string, targets []string) error {
	return onDomain(ctx, h, id, func(l *rpc.Libvirt, d rpc.Domain) error {
		return dropEach(l, d, checkpoint, targets)
	})
}

// dropEach removes a checkpoint's bitmaps one disk at a time, by making it
// known for that disk, unvalidated, and deleting it: libvirt deletes all of a
// checkpoint's bitmaps or, when one is missing, none. A missing one is no error.
func dropEach(l *rpc.Libvirt, d rpc.Domain, name string, targets []string) error {
	for _, target := range targets {
		x := libvirtxml.DomainCheckpoint{Name: name, CreationTime: "1"}
		c, err := redefine(l, d, x, []string{target}, rpc.DomainCheckpointCreateRedefine)
		if err != nil {
			return err
		}
		if err := l.DomainCheckpointDelete(c, 0); err != nil && !noBitmap(err) {
			return err
		}
	}
	c, err := l.DomainCheckpointLookupByName(d, name, 0)
	if errors.Is(classify(err), hypervisor.ErrNoCheckpoint) {
		return nil
	}
	if err != nil {
		return err
	}
	return l.DomainCheckpointDelete(c, rpc.DomainCheckpointDeleteMetadataOnly)
}

// noBitmap: libvirt says "bitmap 'NAME' not found in backing chain of 'TARGET'".
func noBitmap(err error) bool {
	var e rpc.Error
	return errors.As(err, &e) && strings.Contains(e.Message, "not found in backing chain")
}

// DeleteCheckpoint forgets a checkpoint and removes its bitmaps, those that are
// there; of a domain that is off, whose images QEMU does not hold open, only
// libvirt's record goes.
func (h *Host) DeleteCheckpoint(ctx context.Context, id, name string) error {
	return onDomain(ctx, h, id, func(l *rpc.Libvirt, d rpc.Domain) error {
		c, err := l.DomainCheckpointLookupByName(d, name, 0)
		if err != nil {
			return err
		}
		err = l.DomainCheckpointDelete(c, 0)
		switch {
		case errors.Is(classify(err), hypervisor.ErrNotRunning):
			return l.DomainCheckpointDelete(c, rpc.DomainCheckpointDeleteMetadataOnly)
		case noBitmap(err):
			doc, err := l.DomainCheckpointGetXMLDesc(c, uint32(rpc.DomainCheckpointXMLNoDomain))
			if err != nil {
				return err
			}
			return dropEach(l, d, name, bitmapTargets(doc))
		}
		return err
	})
}

// bitmapTargets lists the disks that a checkpoint tracks.
func bitmapTargets(doc string) (targets []string) {
	var x libvirtxml.DomainCheckpoint
	if x.Unmarshal(doc) != nil || x.Disks == nil {
		return nil
	}
	for _, d := range x.Disks.Disks {
		if d.Checkpoint == "bitmap" {
			targets = append(targets, d.Name)
		}
	}
	return targets
}
