// Package mover is what the movers share: the manifest that a point of a VM
// carries, the doors to hosts and repositories, and the translation of the
// data wing's errors into those a user can read.
//
// A mover, one folder below, joins the hypervisor, the snapshot and the
// repository for one kind of job. Movers never import each other.
package mover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"holdfast"
	"holdfast/internal/disk/image"
	"holdfast/internal/hypervisor"
	"holdfast/internal/keyring"
	"holdfast/internal/objstore"
	"holdfast/internal/repository"
	"holdfast/internal/snapshot"
)

// Hosts opens the libvirt host of a site. The caller closes it.
type Hosts func(ctx context.Context, site holdfast.SiteRef) (hypervisor.Host, error)

// Repositories opens the repository of a vault with the key it names.
// The handle is shared; callers do not close it.
type Repositories func(ctx context.Context, ref holdfast.RepositoryRef) (*repository.Repository, error)

// ManifestVersion is the version of Manifest that this build writes and the
// newest that it reads.
//
// Version 2 has Secrets: what does not know them would bring encrypted disks back in
// the clear. A point without any is of version 1.
const ManifestVersion = 2

// Manifest is what a point says of its VM: enough to build it again on a
// fresh host and to go on incrementally. It is sealed in the repository.
type Manifest struct {
	Version     int                  `json:"version"`
	VM          holdfast.VMFact      `json:"vm"`
	Time        time.Time            `json:"time"` // the snapshot's moment, server clock, UTC
	Consistency holdfast.Consistency `json:"consistency"`
	Reason      string               `json:"reason"`
	FrozenFor   time.Duration        `json:"frozenFor"`
	DomainXML   string               `json:"domainXml"`       // inactive definition at the moment
	NVRAM       []byte               `json:"nvram,omitempty"` // UEFI variables
	TPM         []snapshot.File      `json:"tpm,omitempty"`   // state of the emulated TPM
	// Secrets open the encrypted disks: libvirt's, with their values.
	Secrets []hypervisor.Secret `json:"secrets,omitempty"`
	// Checkpoint is where the next incremental starts from; nil when no disk
	// could be tracked.
	Checkpoint *snapshot.Checkpoint `json:"checkpoint,omitempty"`
	Disks      []ManifestDisk       `json:"disks"`
	Warnings   []string             `json:"warnings,omitempty"`
}

// ManifestDisk is one disk of the point and what reading it cost.
type ManifestDisk struct {
	Fact holdfast.DiskFact   `json:"fact"`
	Cost holdfast.DiskResult `json:"cost"`
}

// Costs is what each disk of the point cost.
func (m Manifest) Costs() []holdfast.DiskResult {
	var all []holdfast.DiskResult
	for _, d := range m.Disks {
		all = append(all, d.Cost)
	}
	return all
}

// Result is what the backup job of a point answered, or would have.
func (m Manifest) Result(id string) holdfast.BackupResult {
	return holdfast.BackupResult{
		PointID: id, Time: m.Time, Consistency: m.Consistency, Reason: m.Reason, FrozenFor: m.FrozenFor,
		VMSize: fmt.Sprintf("%d vCPU, %d MiB", m.VM.VCPUs, m.VM.MemoryBytes>>20),
		OSType: m.VM.OSType, Warnings: m.Warnings, Kept: m.VM.Kept, Disks: m.Costs(),
	}
}

// ReadManifest decodes a point's manifest.
func ReadManifest(p repository.Point) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(p.Attributes, &m); err != nil {
		return m, holdfast.Errorf(holdfast.Damaged, p.ID, "Point %s carries no VM manifest that can be read.", p.ID).WithCause(err)
	}
	if m.Version < 1 || m.Version > ManifestVersion {
		return m, holdfast.Errorf(holdfast.Unsupported, p.ID, "Point %s has manifest version %d; this build reads 1 to %d.", p.ID, m.Version, ManifestVersion).
			WithHint("Use a newer holdfast.")
	}
	return m, nil
}

// Latest is the newest point of a series with its manifest; ok is false when
// the series has none.
func Latest(ctx context.Context, r *repository.Repository, series string) (p repository.Point, m Manifest, ok bool, err error) {
	points, err := r.Points(ctx, series)
	if err != nil || len(points) == 0 {
		return p, m, false, err
	}
	p, err = r.Point(ctx, points[len(points)-1].ID)
	if err != nil {
		return p, m, false, err
	}
	m, err = ReadManifest(p)
	return p, m, err == nil, err
}

// Explain turns an error of the data wing into one that a user can act on.
// what is the thing that the work was about. A *holdfast.Error passes as it is.
func Explain(err error, what string) error {
	var known *holdfast.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	for _, e := range explanations {
		if errors.Is(err, e.is) {
			message := e.message
			if e.detail {
				message += ": " + err.Error() + "."
			}
			return holdfast.Errorf(e.kind, what, "%s", message).WithHint(e.hint).WithCause(err)
		}
	}
	return holdfast.Errorf(holdfast.Internal, what, "Work on %s failed: %v.", what, err).WithHint("The server's log has more.").WithCause(err)
}

// explanations is tried in order: the more exact first. detail adds the words
// of the error itself, where they name what its user can change.
var explanations = []struct {
	is            error
	kind          holdfast.Kind
	detail        bool
	message, hint string
}{
	{keyring.ErrWrongKey, holdfast.WrongKey, false, "The key does not open the repository.", "Give the key (or passphrase) that the repository was made with."},
	{repository.ErrDamaged, holdfast.Damaged, true, "Stored data was read and is damaged", "Run `holdfast repository check` to see which points are hurt; the next backup stores lost data again where the source still has it."},
	{repository.ErrBusy, holdfast.Conflict, false, "Another backup of this VM is running.", "Wait for it to end, or cancel it."},
	{repository.ErrNoPoint, holdfast.NotFound, false, "The recovery point does not exist.", "List the points there are: `holdfast point list`."},
	{repository.ErrNotRepository, holdfast.NotFound, false, "There is no Holdfast repository there.", "Check the vault's repository URL and that its storage is mounted."},
	{objstore.ErrFull, holdfast.Full, true, "The vault's storage is full", "Add space, or delete points and run `holdfast repository collect`; nothing of the points that exist is lost."},
	{objstore.ErrPermission, holdfast.Denied, true, "The vault's storage refuses access", "Give the server's user read and write access to it."},
	{objstore.ErrInvalid, holdfast.Invalid, true, "The vault's place is not one that can be used", "See `holdfast store check --help` for the forms of a place."},
	{objstore.ErrNotExist, holdfast.NotFound, true, "The vault's place is not there", "Check its URL and that its storage is mounted."},
	{hypervisor.ErrUnreachable, holdfast.Unreachable, true, "The libvirt host does not answer", "Check that libvirtd runs there and that the site's URI is right."},
	{hypervisor.ErrNoDomain, holdfast.NotFound, false, "The site has no such VM.", "List what there is: `holdfast vm list`."},
	{hypervisor.ErrNoPool, holdfast.NotFound, false, "The site has no such active storage pool.", "List what there is: `holdfast site show`."},
	{hypervisor.ErrNoVolume, holdfast.NotFound, false, "The site has no such disk.", "List what there is: `az disk list`."},
	{hypervisor.ErrNoSecret, holdfast.Unsupported, true, "A disk is encrypted under a libvirt secret that the host does not have, or that has no value", "Define the secret and set its value (virsh secret-define, secret-set-value): a point of the disk is of no use without it."},
	{hypervisor.ErrPrivateSecret, holdfast.Unsupported, true, "A disk is encrypted under a libvirt secret that is private, so that its value cannot be kept with the point", "Define it without private='yes' (virsh secret-define)."},
	{hypervisor.ErrNoNetwork, holdfast.NotFound, false, "The site has no such network.", "List what there is: `holdfast site show`."},
	{hypervisor.ErrInvalid, holdfast.Invalid, true, "libvirt refuses it", ""},
	{hypervisor.ErrExists, holdfast.Conflict, false, "It exists already.", "Choose another name."},
	{hypervisor.ErrBusy, holdfast.Conflict, true, "The VM has another backup or block job running", "Wait for it to end, or end it with `virsh domjobabort`."},
	{hypervisor.ErrNoSlot, holdfast.Conflict, false, "The running VM has no free slot for another disk.", "Power it off and attach the disk then, or give its definition more pcie-root-port controllers."},
	{hypervisor.ErrNotRunning, holdfast.Conflict, false, "The VM was stopped meanwhile.", "Try again."},
	{hypervisor.ErrNoAgent, holdfast.Unreachable, false, "The guest agent does not answer.", "Install and start qemu-guest-agent in the guest."},
	{snapshot.ErrUnsupportedFormat, holdfast.Unsupported, true, "The VM has a disk that cannot be backed up", "Convert it (`qemu-img convert`) or exclude its LUN."},
	{snapshot.ErrScratchFull, holdfast.Full, true, "The backup was ended to spare the guest", "Give the site a larger scratch directory, or back up when the guest writes less."},
	{snapshot.ErrEnded, holdfast.Conflict, false, "The VM was stopped, or its backup job was ended by somebody else, while its disks were read.", "Back it up again."},
	{snapshot.ErrStarted, holdfast.Conflict, false, "The VM was started while its disks were read.", "Back it up again."},
	{image.ErrFormat, holdfast.Unsupported, true, "The disk's format is not one that is read", ""},
	{context.Canceled, holdfast.Canceled, false, "The job was cancelled.", ""},
	{context.DeadlineExceeded, holdfast.Unreachable, false, "It took too long to answer.", "Try again; see the server's log for what did not answer."},
	{syscall.ENOSPC, holdfast.Full, true, "The disk is full", "Free space on the target and start the job again."},
	{syscall.EROFS, holdfast.Denied, true, "The file system can only be read", "Choose a place that can be written to."},
	{fs.ErrPermission, holdfast.Denied, true, "Access to a file was refused", "Give the server's user access to it."},
	{fs.ErrExist, holdfast.Conflict, true, "A file of that name exists already", "Choose another name prefix or directory; nothing was overwritten."},
	{fs.ErrNotExist, holdfast.Invalid, true, "A file or directory is not there and cannot be made", "Check the path."},
}
