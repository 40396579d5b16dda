// Package snapshot takes the frozen moment of a VM: all its disks at one
// instant, readable for as long as the caller needs, while the guest runs on.
//
// [Take] freezes the guest's file systems (when asked and possible), starts a
// libvirt checkpoint and pull-mode backup in one step, thaws, and hands out one
// [disk.Source] per disk. [Snapshot.Release] ends it. [End] ends what a dead
// process left, [KeepOnly] forgets its checkpoints.
//
// It promises: the guest is frozen only after everything else is ready, and no
// longer than the deadline, because an independent process thaws it when this
// one dies or hangs, and ends the backup job when this one dies; a block is reported as unchanged ([disk.Same]) only when
// the bitmap of the last point's checkpoint was validated and the disk is
// provably the same one; a disk whose tracking is lost is read in full, alone,
// with the reason in words; nothing that is not Holdfast's own is touched; a
// VM that is off is never started.
//
// It does not promise that a guest without agent is more than crash-consistent;
// it says what was proved, and why not more.
package snapshot

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"holdfast/internal/disk"
	"holdfast/internal/hypervisor"
)

// Errors of Take, beside those of the hypervisor (hypervisor.ErrBusy, …).
var (
	// ErrUnsupportedFormat: a disk is neither raw nor qcow2. The error is a
	// *FormatError.
	ErrUnsupportedFormat = errors.New("disk format not supported")
	// ErrScript: a script of the guest's application failed, and its
	// configuration says that there shall be no backup then.
	ErrScript = errors.New("the guest's script failed")
	// ErrScratchFull: the scratch space reached its cap or its disk is full;
	// the job was ended to spare the guest.
	ErrScratchFull = errors.New("scratch space is full")
	// ErrEnded: libvirt's backup job is gone before its end.
	ErrEnded = errors.New("the backup job was ended by somebody else or by the virtual machine's stop")
)

// FormatError names the disk that cannot be backed up.
type FormatError struct {
	Target, Path, Format string
}

// Error says which disk and which format.
func (e *FormatError) Error() string {
	return "disk " + e.Target + " (" + e.Path + ") has format " + e.Format +
		"; only raw and qcow2 disks can be backed up"
}

// Unwrap makes errors.Is(err, ErrUnsupportedFormat) true.
func (e *FormatError) Unwrap() error { return ErrUnsupportedFormat }

// Consistency is what a snapshot was proved to be.
type Consistency string

// The consistencies, best first.
const (
	Application Consistency = "Application"
	FileSystem  Consistency = "FileSystem"
	Crash       Consistency = "Crash"
)

// Request asks for a snapshot.
type Request struct {
	Host hypervisor.Host
	URI  string // of Host; the watchdog connects by itself
	UUID string // of the domain
	// ScratchDir takes sockets and scratch files; QEMU reaches it too.
	ScratchDir string
	// ScratchCap bounds all scratch files together, bytes; 0 is no cap but the
	// file system's (of which a reserve is always kept free).
	ScratchCap int64
	// Want is the best consistency to try; "" is FileSystem.
	Want Consistency
	// Exclude are targets left out.
	Exclude []string
	// Last is the checkpoint kept with the last committed point; nil reads
	// every disk in full.
	Last *Checkpoint
	// FreezeDeadline bounds the time that the guest stands still; 0 is 10 s.
	FreezeDeadline time.Duration
	// Watchdog is the command that runs WatchdogMain; empty is this program
	// with the argument WatchdogCommand.
	Watchdog []string
	Log      *slog.Logger // nil discards
}

// Checkpoint is what a later incremental needs. It is stored with the point
// (plain JSON) and given back as Request.Last.
type Checkpoint struct {
	Name string `json:"name"`
	XML  string `json:"xml"`
	// Disks has one entry for each disk that the checkpoint tracks.
	Disks []CheckpointDisk `json:"disks"`
}

// CheckpointDisk says which disk it was that the checkpoint tracks.
type CheckpointDisk struct {
	Target string `json:"target"`
	// ChangeID identifies the image: the same target with another ChangeID is
	// another disk, whatever its bitmaps say.
	ChangeID string `json:"changeId"`
	Size     int64  `json:"size"` // bytes, virtual, at the checkpoint
	// Also is what had changed since the checkpoint at a later point that kept
	// it (of a machine that is off). The next read takes it whatever the bitmap
	// says: if the image is then an older copy of itself, put in place by hand,
	// its bitmap is older too and does not know of these changes.
	Also []Range `json:"also,omitempty"`
}

// Snapshot is one frozen moment, open for reading until Release.
type Snapshot struct {
	Time        time.Time   // of the instant, host clock
	Consistency Consistency // what was proved
	Reason      string      // how, or why it is not more
	FrozenFor   time.Duration
	// Checkpoint goes with the point; nil when no disk can be tracked.
	Checkpoint *Checkpoint
	// DomainXML is the definition to restore from.
	DomainXML string
	Domain    hypervisor.Domain
	Disks     []Disk
	Warnings  []string
	// NVRAM holds UEFI's variables, TPM the files of swtpm's state directory
	// (hypervisor.TPM.StatePath); nil without.
	NVRAM []byte
	TPM   []File
	// Secrets are those that open the encrypted disks, with their values.
	Secrets []hypervisor.Secret
	// Scripts is what the guest's own scripts said, in order.
	Scripts []ScriptRun

	take *taken
}

// ScriptRun is one script of the guest's application.
type ScriptRun struct {
	Path   string
	Output string
	Err    string // "" when it succeeded
}

// Disk is one disk of a snapshot.
type Disk struct {
	Target string
	Size   int64 // bytes
	// Incremental says that Source yields disk.Same for what is unchanged
	// since Request.Last.
	Incremental bool
	Reason      string // why the disk is read in full; "" when incremental
	Secret      string // UUID of the one in Secrets that opens the disk; "" without
	Source      disk.Source
}

// Release ends the snapshot: the backup job, its scratch files, its sockets.
// keep says that the point was committed: the new checkpoint stays and older
// ones of Holdfast go. Without keep the new checkpoint goes and the older stay.
// Release may be called more than once; only the first counts.
func (s *Snapshot) Release(ctx context.Context, keep bool) error {
	return s.take.release(ctx, keep)
}
