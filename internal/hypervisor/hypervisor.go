// Package hypervisor is the contract between Holdfast and a host that runs
// virtual machines: its nouns, its errors and the [Host] that answers for them.
// It does no I/O; hypervisor/libvirt is the implementation.
//
// A Host promises live answers (nothing is cached), typed errors (the Err
// values below, tested by errors.Is), and that it changes only what it is told
// to: no domain is started, no foreign checkpoint or job touched, by asking.
// It does not promise that two answers are of the same moment.
//
// The words are libvirt's (https://libvirt.org/formatdomain.html): a domain is
// a VM, a pool a storage pool, a checkpoint a moment since which QEMU records
// changed blocks.
package hypervisor

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Errors of a Host. Each is wrapped with what it is about.
var (
	// ErrUnreachable: the URI is wrong, or libvirt does not answer there.
	ErrUnreachable = errors.New("the hypervisor is not reachable")
	// ErrInvalid: the hypervisor refuses what it was given (XML, name, URI).
	ErrInvalid = errors.New("refused by the hypervisor")
	// ErrNoDomain: there is no such domain.
	ErrNoDomain = errors.New("no such virtual machine")
	// ErrNoPool: there is no such storage pool, or it is not active.
	ErrNoPool = errors.New("no such storage pool")
	// ErrNoVolume: no pool has such a volume.
	ErrNoVolume = errors.New("no such volume")
	// ErrNoNetwork: there is no such network.
	ErrNoNetwork = errors.New("no such network")
	// ErrNoCheckpoint: there is no such checkpoint.
	ErrNoCheckpoint = errors.New("no such checkpoint")
	// ErrNoSecret: there is no such secret, or it has no value.
	ErrNoSecret = errors.New("no such secret")
	// ErrPrivateSecret: the secret is private, so that nobody is given its value.
	ErrPrivateSecret = errors.New("the secret does not give its value")
	// ErrExists: the name or UUID is taken.
	ErrExists = errors.New("already there")
	// ErrNotRunning: it needs a running (or paused) domain.
	ErrNotRunning = errors.New("the virtual machine is not running")
	// ErrBusy: another backup or block job holds the domain.
	ErrBusy = errors.New("another job is running on the virtual machine")
	// ErrNoSlot: the running machine has no free slot for another device.
	ErrNoSlot = errors.New("the virtual machine has no free slot for another device")
	// ErrNoAgent: the domain has no guest agent channel, or nobody answers there.
	ErrNoAgent = errors.New("the guest agent does not answer")
	// ErrAgentFailed: the guest agent answered with an error.
	ErrAgentFailed = errors.New("the guest agent refused")
	// ErrBitmap: a dirty bitmap of the checkpoint is missing, in use or broken.
	// The error is a *BitmapError that names the disk when libvirt did.
	ErrBitmap = errors.New("the dirty bitmap is missing or broken")
)

// BitmapError says which disk has no usable bitmap for a checkpoint.
type BitmapError struct {
	Checkpoint string
	Target     string // "" when libvirt did not say
	Cause      error
}

// Error gives libvirt's words.
func (e *BitmapError) Error() string { return e.Cause.Error() }

// Unwrap makes errors.Is(err, ErrBitmap) true.
func (e *BitmapError) Unwrap() []error { return []error{ErrBitmap, e.Cause} }

// Host is one connection to a hypervisor. It is safe for concurrent use and
// connects again by itself when the connection was lost (a restarted libvirtd).
// A domain is named by its UUID (RFC 4122 text form, lower case).
//
// A cancelled ctx makes a call return at once with ctx's error; what the
// hypervisor was already told may still happen.
type Host interface {
	Close() error

	// Info says what the host is.
	Info(ctx context.Context) (Info, error)
	// Confinement names the mandatory access control that confines QEMU there:
	// "apparmor", "selinux" or "" for none.
	Confinement(ctx context.Context) (string, error)
	// Domains lists all domains with their facts, ordered by name. A domain
	// that vanishes meanwhile is left out.
	Domains(ctx context.Context) ([]Domain, error)
	// Domain gives one domain's facts. ErrNoDomain.
	Domain(ctx context.Context, uuid string) (Domain, error)
	// DomainNamed gives the facts of the domain with that name. ErrNoDomain.
	DomainNamed(ctx context.Context, name string) (Domain, error)
	// DomainXML gives the domain's persistent definition with its secrets
	// (what defining it again needs). ErrNoDomain.
	DomainXML(ctx context.Context, uuid string) (string, error)

	// Define makes a domain of XML and returns its UUID. ErrInvalid, ErrExists.
	Define(ctx context.Context, xml string) (uuid string, err error)
	// Redefine puts XML in the place of a domain's persistent definition, in one
	// step: after a crash it is either the old or the new. XML has the domain's
	// name and UUID; one that runs goes on as it is. ErrNoDomain, ErrInvalid.
	Redefine(ctx context.Context, uuid, xml string) error
	// Undefine forgets a domain that is shut off (checkpoint metadata, saved
	// state and NVRAM file too, disks never). ErrNoDomain.
	Undefine(ctx context.Context, uuid string) error
	// Start boots a domain; already running is no error. ErrNoDomain, ErrInvalid.
	Start(ctx context.Context, uuid string) error
	// StartPaused gives a domain power and boots nothing: it is paused before its
	// first instruction, until Resume. Already running (or paused) is no error.
	StartPaused(ctx context.Context, uuid string) error
	// Destroy takes a domain's power away; already off is no error.
	Destroy(ctx context.Context, uuid string) error
	// Suspend stops a domain's processors; already paused is no error. ErrNotRunning.
	Suspend(ctx context.Context, uuid string) error
	// Resume lets a paused domain run; already running is no error.
	Resume(ctx context.Context, uuid string) error
	// Shutdown asks the guest to power itself off and does not wait for it;
	// already off is no error.
	Shutdown(ctx context.Context, uuid string) error
	// SetMetadata puts one element into the domain's <metadata>, now and for its
	// next start, in place of the one of the same XML namespace; "" takes it out.
	SetMetadata(ctx context.Context, uuid, space, prefix, element string) error

	// Pools lists the active storage pools that have a path, by name.
	Pools(ctx context.Context) ([]Pool, error)
	// Pool gives one pool. ErrNoPool.
	Pool(ctx context.Context, name string) (Pool, error)
	// RefreshPool makes the pool see files that were made beside it. ErrNoPool.
	RefreshPool(ctx context.Context, name string) error
	// Volumes lists the files that active pools hold, by path.
	Volumes(ctx context.Context) ([]Volume, error)
	// CreateVolume makes an empty volume in a pool and returns its path.
	// ErrNoPool, ErrExists, ErrInvalid.
	CreateVolume(ctx context.Context, v Volume) (path string, err error)
	// ResizeVolume grows a volume that no running domain has open. ErrNoVolume.
	ResizeVolume(ctx context.Context, path string, size int64) error
	// DeleteVolume deletes a volume and its bytes. ErrNoVolume.
	DeleteVolume(ctx context.Context, path string) error
	// AttachDisk gives a domain a disk, now if it runs and for its next start.
	AttachDisk(ctx context.Context, uuid string, d Disk) error
	// DetachDisk takes a disk away, now if the domain runs and for its next
	// start. A running guest that does not let go of it is ErrBusy.
	DetachDisk(ctx context.Context, uuid, target string) error
	// ResizeDisk grows the disk of a running domain.
	ResizeDisk(ctx context.Context, uuid, target string, size int64) error
	// Mirror begins to copy what the own image of a running domain's disk holds, not
	// what it takes from its backing image, into an image that holds the backing
	// image's bytes already; what the guest writes meanwhile goes to both. Disk.Mirror
	// tells of it. ErrBusy, ErrNotRunning.
	Mirror(ctx context.Context, uuid, target, path, format string) error
	// Pivot ends a Mirror that is ready: its image, flushed, is then the disk's own,
	// in both definitions if they had the same. ErrBusy while it is not ready.
	Pivot(ctx context.Context, uuid, target string) error
	// Secret gives a secret with its value. ErrNoSecret, ErrPrivateSecret.
	Secret(ctx context.Context, ref SecretRef) (Secret, error)
	// DefineSecret makes a secret with its value, and says whether it was not there;
	// there already, with that value, is no error. ErrExists: there with another value,
	// or its usage is another's. ErrPrivateSecret: there, with whatever value.
	DefineSecret(ctx context.Context, s Secret) (fresh bool, err error)
	// UndefineSecret forgets a secret; not there is no error.
	UndefineSecret(ctx context.Context, uuid string) error
	// Networks lists all networks, active or not, by name.
	Networks(ctx context.Context) ([]Network, error)

	// Screenshot is what a running domain's first screen shows, as QEMU encodes
	// it: PNG, or PPM before QEMU 7.1. ErrInvalid for a domain without screen.
	Screenshot(ctx context.Context, uuid string) ([]byte, error)

	// Agent sends one guest agent command (JSON) and returns the "return"
	// member. It fails with ErrNoAgent after the timeout, rounded up to seconds.
	Agent(ctx context.Context, uuid string, command json.RawMessage, timeout time.Duration) (json.RawMessage, error)

	// BeginBackup starts a pull-mode backup of all its disks and sets its
	// checkpoint, both in one instant. ErrBusy, ErrNotRunning, *BitmapError.
	BeginBackup(ctx context.Context, uuid string, b Backup) error
	// BackupJob tells of the backup job that runs on the domain now; nil when
	// none does. ErrNoDomain.
	BackupJob(ctx context.Context, uuid string) (*BackupJob, error)
	// EndBackup ends the domain's backup job and waits until it is gone; none
	// running is no error.
	EndBackup(ctx context.Context, uuid string) error

	// Checkpoints lists the names that libvirt knows, parents first.
	Checkpoints(ctx context.Context, uuid string) ([]string, error)
	// CheckpointXML is what Redefine needs later. ErrNoCheckpoint.
	CheckpointXML(ctx context.Context, uuid, name string) (string, error)
	// RedefineCheckpoint tells libvirt of a checkpoint again and validates its
	// bitmap on each of targets; the other disks are left out of it. The domain
	// must be running. *BitmapError names the first disk that does not hold.
	RedefineCheckpoint(ctx context.Context, uuid, xml string, targets []string) error
	// DropBitmaps removes from targets what is left of a checkpoint that libvirt
	// does not know; nothing left is no error. The domain must be running.
	DropBitmaps(ctx context.Context, uuid, checkpoint string, targets []string) error
	// DeleteCheckpoint forgets a checkpoint and removes its bitmaps, those that
	// are there; when the domain is shut off only libvirt's record goes.
	// ErrNoCheckpoint.
	DeleteCheckpoint(ctx context.Context, uuid, name string) error
}

// Info is what a host says of itself.
type Info struct {
	Host    string // host name
	Libvirt string // version, such as 9.0.0
	QEMU    string // version, such as 7.2.22
}

// State is a domain's run state.
type State string

// The states that matter to a backup; libvirt's others map to the nearest.
const (
	Running State = "running"
	Paused  State = "paused"
	ShutOff State = "shutoff"
	Crashed State = "crashed"
)

// PausedUser is the StateReason of a domain that somebody paused.
const PausedUser = "user"

// PausedIOError is the StateReason of a domain that QEMU stopped because a
// disk could not be written (no space, most often).
const PausedIOError = "ioerror"

// Active says that QEMU runs, so that backup jobs and checkpoints are possible.
func (s State) Active() bool { return s == Running || s == Paused }

// Domain is what libvirt knows of one VM. A running domain is described as it
// runs, not as its next start would be.
type Domain struct {
	UUID, Name  string
	State       State
	StateReason string // for Paused: user, ioerror, …; "" when unknown
	Persistent  bool
	// Saved says that it is off with its memory saved: its next start goes on
	// from there, on the disks that it had.
	Saved       bool
	VCPUs       int
	MemoryBytes int64
	Arch        string // x86_64, …
	Machine     string

	UEFI       bool
	SecureBoot bool
	NVRAM      string // path of the firmware's variables; "" without
	TPM        *TPM
	// Confidential is the launchSecurity type (sev, …); "" without.
	Confidential string
	HostDevices  int // passed-through devices

	// QEMUUser and QEMUGroup are what its QEMU process runs as; -1 unknown or off.
	QEMUUser, QEMUGroup int
	// RuntimeDir is QEMU's own directory while it runs: it may make sockets
	// there however it is confined. "" when off or not known.
	RuntimeDir string

	// AgentChannel says that a guest agent channel is defined; AgentConnected
	// that the guest has opened it.
	AgentChannel, AgentConnected bool

	Disks    []Disk // in the order of the XML
	NICs     []NIC
	OSInfo   string // libosinfo id from the metadata, such as http://debian.org/debian/12
	Metadata string // inner XML of <metadata>
}

// TPM is an emulated TPM.
type TPM struct {
	Model     string // tpm-crb, …
	Version   string // 2.0, 1.2
	StatePath string // directory of swtpm's state on the host
}

// Disk is one disk of a domain.
type Disk struct {
	Target string // vda, sdb, …
	Device string // disk, cdrom, floppy, lun
	Bus    string // virtio, scsi, sata, ide, usb, nvme
	Kind   string // source type: file, block, network, volume, nvme, vhostuser, dir
	Path   string // of the file or block device; "" for others
	Format string // driver type: qcow2, raw, …
	Size   int64  // bytes, virtual; 0 when it cannot be told
	Pool   string // registered active pool that holds Path; "" outside
	Serial string
	Cache  string
	Boot   int // boot order, 1 first; 0 unset

	ReadOnly, Shareable, Transient bool
	// Encrypted says that libvirt opens the image with a key, Cipher in which format
	// (luks) and Secret whose value the key is.
	Encrypted bool
	Cipher    string
	Secret    SecretRef
	// Backing is the path of the image's backing file; "" without.
	Backing string
	// BackingSocket is the UNIX socket of the NBD server whose export the image is
	// based on; "" without.
	BackingSocket string
	// Mirror tells of a copying of the image that goes on; nil when none does.
	Mirror *Mirror
}

// Mirror is the copying of a disk's image into another one.
type Mirror struct {
	Path  string // of the other
	Ready bool   // all is there, and what the guest writes goes to both
}

// SecretRef names a secret, by its UUID or else by its usage.
type SecretRef struct{ UUID, Usage string }

// LUKS is the Cipher of images that are encrypted with LUKS.
const LUKS = "luks"

// Secret is one secret of a host. It prints without its value.
type Secret struct {
	UUID  string `json:"uuid"`
	XML   string `json:"xml"` // definition, without the value
	Value []byte `json:"value"`
}

// String hides the value from logs.
func (s Secret) String() string { return "secret " + s.UUID }

// GoString hides the value from logs.
func (s Secret) GoString() string { return s.String() }

// NIC is one network interface of a domain.
type NIC struct {
	MAC     string
	Kind    string // network, bridge, user, direct, …
	Source  string // network or bridge name
	Model   string
	Address string // bus address; "" when not assigned
}

// Pool is one storage pool.
type Pool struct {
	Name, UUID string
	Type       string // dir, logical, …
	Path       string
	Capacity   int64 // bytes
	Available  int64 // bytes
}

// Volume is one file (or block device) that a pool holds.
type Volume struct {
	Name, Pool, Path string
	Format           string // qcow2, raw, iso, …
	Size             int64  // bytes, virtual
	Allocated        int64  // bytes on the host
	Backing          string // path of the backing file; "" without
}

// Network is one virtual network.
type Network struct {
	Name, UUID string
	Active     bool
	Bridge     string
	Forward    string // nat, route, bridge, …; "" isolated
}

// Backup asks for one pull-mode backup job.
type Backup struct {
	Socket string // path of the UNIX socket on which QEMU serves NBD
	// Checkpoint is the name of the checkpoint to make; "" makes none.
	Checkpoint string
	Disks      []BackupDisk
	// Omit are targets left out of the job and of the checkpoint.
	Omit []string
}

// BackupDisk is one disk of a backup job. Its NBD export has the name of the
// target; with Since its dirty context is "qemu:dirty-bitmap:backup-TARGET".
type BackupDisk struct {
	Target string
	// Scratch is a qcow2 file of the disk's size, made beforehand, that takes
	// the old content of blocks that the guest overwrites meanwhile.
	Scratch string
	// ScratchSecret is the UUID of the secret that opens Scratch, which is encrypted
	// with LUKS; "" when it is not.
	ScratchSecret string
	Since         string // checkpoint of an incremental backup; "" is a full one
	Bitmap        bool   // the new checkpoint tracks this disk
}

// BackupJob is a backup job found on a domain.
type BackupJob struct {
	Socket  string   // "" when it is a push job or serves TCP
	Scratch []string // scratch files
}
