// Package holdfast holds the nouns of Holdfast: what a job is asked to do and
// what it answers, and the kinds of error a user can meet. It imports only the
// standard library and does no I/O.
//
// The two wings meet here. The control wing (API, rules, catalog, jobs) writes
// Args and reads Results; the movers of the bridge read Args, use the data wing
// (hypervisor, snapshot, repository) and return Results. Every Args and Result
// is plain JSON, kept in the job's row, so that a job can be run again by
// another process after a crash.
package holdfast

import (
	"encoding/json"
	"strings"
	"time"
)

// SiteRef is what a mover needs to reach a site (design.md: region = site).
type SiteRef struct {
	Name string `json:"name"` // the site's name, which is also its ARM location
	URI  string `json:"uri"`  // libvirt URI, such as qemu:///system
	// ScratchDir is a directory on the libvirt host for fleecing files and
	// sockets of backups; the server and QEMU both reach it.
	ScratchDir string `json:"scratchDir"`
	// ScratchLimit bounds the fleecing files of one backup, bytes; one that
	// reaches it fails and its guest goes on. 0 is no bound but the file system's.
	ScratchLimit int64 `json:"scratchLimit,omitempty"`
}

// RepositoryRef names a repository and the key that opens it. It holds no
// secret: KeyID is resolved by the key holder of the process.
type RepositoryRef struct {
	URL   string `json:"url"`   // file:///dir, s3://…, azblob://…, gs://…
	KeyID string `json:"keyId"` // name of the key in the server's key directory
	// Quick is one whose points stay for days: a site's operational repository.
	Quick bool `json:"quick,omitempty"`
	// Given is one whose place somebody chose: it is not made anew where its
	// directory is gone, which may be on a file system that is not mounted.
	Given bool `json:"given,omitempty"`
	// KeyURL is the key in a key service, such as hashivault://KEY; "" is the one
	// in the directory. The server keeps no copy of it.
	KeyURL string `json:"keyUrl,omitempty"`
	// Revocable says that the key at KeyURL is asked for whenever something is done
	// with the repository, also when it is open: it is sealed for a disk encryption
	// set, whose owner may take the key away at any time (matrix RPT-27).
	Revocable bool `json:"revocable,omitempty"`
	// Twice says that every object is encrypted once more, under the key KeyID of the
	// server (matrix RPT-28).
	Twice bool `json:"twice,omitempty"`
}

// VMRef names a VM on a site. UUID decides; Name is for messages.
type VMRef struct {
	UUID string `json:"uuid"`
	Name string `json:"name"`
}

// Consistency is what a point was proved to be (matrix LNX-01, ACT-01).
type Consistency string

// The three consistencies, best first.
const (
	ApplicationConsistent Consistency = "ApplicationConsistent"
	FileSystemConsistent  Consistency = "FileSystemConsistent"
	CrashConsistent       Consistency = "CrashConsistent"
)

// MaxLUN is the largest LUN of a data disk (of Azure's largest sizes, 64 of them).
const MaxLUN = 63

// DiskFact is one disk of a VM as its site sees it.
type DiskFact struct {
	LUN    int    `json:"lun"`    // -1 is the OS disk, as in Azure's point model
	Target string `json:"target"` // libvirt target, such as vda
	Path   string `json:"path"`
	Pool   string `json:"pool,omitempty"` // registered pool that holds it, if any
	Format string `json:"format"`         // qcow2, raw, …
	Bus    string `json:"bus"`
	Size   int64  `json:"size"` // bytes, virtual
	// Temporary: marked <transient/>, so that its content goes with the power.
	// It is in no point and comes back empty (matrix STO-13). Never the OS disk.
	Temporary bool `json:"temporary,omitempty"`
	Shared    bool `json:"shared,omitempty"` // <shareable/>
	NVMe      bool `json:"nvme,omitempty"`   // an NVMe device of the host
	// Encrypted: libvirt opens the image with a key (LUKS).
	Encrypted bool `json:"encrypted,omitempty"`
	// Secret, of a disk in a point, is the UUID of the libvirt secret that opens it:
	// the point keeps its value.
	Secret string `json:"secret,omitempty"`
}

// VMFact is one VM as its site sees it.
type VMFact struct {
	VMRef
	State       string `json:"state"` // running, shutoff, paused, …
	VCPUs       int    `json:"vcpus"`
	MemoryBytes int64  `json:"memoryBytes"`
	UEFI        bool   `json:"uefi"` // Gen2
	SecureBoot  bool   `json:"secureBoot,omitempty"`
	TPM         bool   `json:"tpm,omitempty"` // an emulated one
	// Confidential is the launchSecurity type (sev, …); "" without.
	Confidential string     `json:"confidential,omitempty"`
	AgentUp      bool       `json:"agentUp"`
	OS           string     `json:"os,omitempty"` // pretty name from the agent
	OSType       string     `json:"osType"`       // Linux, Windows or "" when unknown
	Disks        []DiskFact `json:"disks"`
	Networks     []string   `json:"networks"`
	NICs         []NICFact  `json:"nics,omitempty"`
	// Transient: libvirt forgets the VM when it goes off.
	Transient bool `json:"transient,omitempty"`
	// Saved: it is off with its memory saved, and goes on from there.
	Saved bool `json:"saved,omitempty"`
	// Tags are those of the ARM resource. They are kept in the VM's own metadata
	// on its host, and come back with it.
	Tags map[string]string `json:"tags,omitempty"`
	// Kept are members of the ARM resource that libvirt has no word for, kept
	// like the tags; under "disks" those of each disk, by its Target.
	Kept map[string]any `json:"kept,omitempty"`
}

// KeptOfDisk are the kept members of one disk, by its Target.
func (f VMFact) KeptOfDisk(target string) map[string]any {
	disks, _ := f.Kept["disks"].(map[string]any)
	of, _ := disks[target].(map[string]any)
	return of
}

// EncryptionSet is the ARM id of the disk encryption set that a disk names; "" is none.
func (f VMFact) EncryptionSet(target string) string {
	disk, _ := f.KeptOfDisk(target)["managedDisk"].(map[string]any)
	set, _ := disk["diskEncryptionSet"].(map[string]any)
	id, _ := set["id"].(string)
	return id
}

// GuestFact is what the guest agent said of the system in a VM. Members are
// empty when they are not known, and Why says why.
type GuestFact struct {
	ID      string `json:"id,omitempty"`      // debian, mswindows, … (os-release(5))
	Name    string `json:"name,omitempty"`    // for people
	Version string `json:"version,omitempty"` // 12, 2019, …
	Variant string `json:"variant,omitempty"` // coreos, server, …
	Kernel  string `json:"kernel,omitempty"`  // release; the build of a Windows
	Machine string `json:"machine,omitempty"` // x86_64, …
	Why     string `json:"why,omitempty"`
	// Looked says that the guest was looked into for what follows.
	Looked        bool     `json:"looked,omitempty"`
	Python        []string `json:"python,omitempty"` // versions found
	Proxy         string   `json:"proxy,omitempty"`  // that is set, without credentials
	NetworkMounts []string `json:"networkMounts,omitempty"`
}

// NICFact is one network interface of a VM.
type NICFact struct {
	MAC     string `json:"mac"`
	Network string `json:"network,omitempty"` // libvirt network; "" is none of them
	Kind    string `json:"kind"`              // network, bridge, user, …
	Model   string `json:"model,omitempty"`
}

// VolumeFact is one disk image that a site has: in a storage pool, on a VM or
// both.
type VolumeFact struct {
	Name      string `json:"name"` // of its file
	Pool      string `json:"pool,omitempty"`
	Path      string `json:"path"`
	Format    string `json:"format"`
	Size      int64  `json:"size"`              // bytes, virtual
	Allocated int64  `json:"allocated"`         // bytes on the host; 0 when unknown
	Backing   string `json:"backing,omitempty"` // path of the image it is based on
	VM        VMRef  `json:"vm,omitzero"`       // whose disk it is; zero is nobody's
	Target    string `json:"target,omitempty"`  // as which disk
	Running   bool   `json:"running,omitempty"` // that VM is running
	// EncryptionSet is the ARM id of the disk encryption set that the VM's disk names.
	EncryptionSet string `json:"encryptionSet,omitempty"`
}

// UnmanagedDir is the directory in a pool's where disks go that are to be in no
// pool: the container that Azure's unmanaged disks lie in, in a storage account.
const UnmanagedDir = "vhds"

// DefaultPool is the pool whose disks have their file's name.
const DefaultPool = "default"

// DiskName is the ARM name of an image: its file's name in the pool "default",
// POOL~FILE in another pool, the path with ~ for / outside of pools.
func DiskName(pool, file string) string {
	base := file[strings.LastIndexByte(file, '/')+1:]
	switch pool {
	case DefaultPool:
		return base
	case "":
		return strings.ReplaceAll(strings.Trim(file, "/"), "/", "~")
	}
	return pool + "~" + base
}

// DiscoverArgs asks what a site has.
type DiscoverArgs struct {
	Site SiteRef `json:"site"`
}

// DiscoverResult is what the site has now.
type DiscoverResult struct {
	Host     string     `json:"host"`     // host name as libvirt says it
	Libvirt  string     `json:"libvirt"`  // version
	QEMU     string     `json:"qemu"`     // version
	Pools    []PoolFact `json:"pools"`    // staging places ("storage accounts")
	Networks []string   `json:"networks"` // libvirt networks ("virtual networks")
	VMs      []VMFact   `json:"vms"`
}

// PoolFact is one storage pool of a site.
type PoolFact struct {
	Name      string `json:"name"`
	Path      string `json:"path"`
	Type      string `json:"type"`
	Available int64  `json:"available"` // bytes
}

// Severity says how much a Finding matters.
type Severity string

// The severities: a finding that Blocks makes every backup fail, one that
// Lessens makes it slower, less consistent or come back as less, one that is
// Good is as it should be; of one that is Unknown nobody could tell.
const (
	Blocks  Severity = "Blocks"
	Lessens Severity = "Lessens"
	Good    Severity = "Good"
	Unknown Severity = "Unknown"
)

// Finding is one thing that was looked at before a backup of a VM.
type Finding struct {
	Severity Severity `json:"severity"`
	Subject  string   `json:"subject"`       // host, vm or disk TARGET
	Text     string   `json:"text"`          // what is the case
	Fix      string   `json:"fix,omitempty"` // what to do about it; "" when Good
	Row      string   `json:"row,omitempty"` // of the support matrix, when one says it
}

// ProvisionArgs asks for a vault's repository to be made (or found).
type ProvisionArgs struct {
	Repository RepositoryRef `json:"repository"`
	// HoldDays, if set, lets the store itself refuse for so many days to delete
	// what is put, and what is live for as long as it is (docs/design/retention.md).
	HoldDays int `json:"holdDays,omitempty"`
	// Find asks for the points that the repository has already.
	Find bool `json:"find,omitempty"`
}

// ProvisionResult says which repository it is.
type ProvisionResult struct {
	RepositoryID string `json:"repositoryId"`
	// Points are those that were asked for, oldest first.
	Points []FoundPoint `json:"points,omitempty"`
	// Unread are points that there are and that cannot be read.
	Unread []string `json:"unread,omitempty"`
	// CanHold says that the store is able to refuse deletions.
	CanHold bool `json:"canHold,omitempty"`
}

// FoundPoint is a point of a VM that a repository was found to have.
type FoundPoint struct {
	Series string       `json:"series"`
	VM     VMRef        `json:"vm"`
	Backup BackupResult `json:"backup"` // that made it
}

// BackupArgs asks for one point of one VM.
type BackupArgs struct {
	Site       SiteRef       `json:"site"`
	VM         VMRef         `json:"vm"`
	Repository RepositoryRef `json:"repository"`
	// Series joins the points of one protected item in the repository.
	Series string `json:"series"`
	// PointID is chosen when the job is made, so that a job run again after a
	// crash finds what it had already committed.
	PointID string `json:"pointId"`
	// Want is the best consistency asked for; less is met with a warning.
	Want Consistency `json:"want"`
	// ExcludeLUNs are disks left out; Notes say of those why that nobody asked for.
	ExcludeLUNs []int    `json:"excludeLuns,omitempty"`
	Notes       []string `json:"notes,omitempty"`
	// Operational is the repository of the site: the point is made there first,
	// and copied to Repository.
	Operational RepositoryRef `json:"operational"`
	// Waiting are earlier points of the VM, oldest first, that are there and not
	// in Repository yet: they are copied, too.
	Waiting []string `json:"waiting,omitempty"`
	// Elsewhere are such points in other operational repositories: the VM's disks
	// named another disk encryption set then.
	Elsewhere []PointRef `json:"elsewhere,omitempty"`
	// Expires is when retention lets the point go; zero keeps it.
	Expires time.Time `json:"expires,omitzero"`
	// ReadRate limits reading from the guest's disks, bytes per second; 0 = no limit.
	ReadRate int64 `json:"readRate,omitempty"`
}

// RestorePoint is the first phase of a backup.
func (a BackupArgs) RestorePoint() RestorePointArgs {
	return RestorePointArgs{Site: a.Site, VM: a.VM, Operational: a.Operational, PointID: a.PointID, Want: a.Want, ExcludeLUNs: a.ExcludeLUNs, ReadRate: a.ReadRate}
}

// DiskResult is what one disk of a backup or restore cost.
type DiskResult struct {
	LUN         int    `json:"lun"`
	Target      string `json:"target"`
	Pool        string `json:"pool,omitempty"`   // backup: the pool that it was in; "" is unmanaged
	Size        int64  `json:"size"`             // bytes, virtual
	Incremental bool   `json:"incremental"`      // false: the disk was read in full
	Reason      string `json:"reason,omitempty"` // why it was read in full
	Read        int64  `json:"read"`             // bytes read from the source; restore: bytes written, zeroes left out
	New         int64  `json:"new"`              // bytes of content the repository did not have
	Stored      int64  `json:"stored"`           // bytes added to the store, sealed
	Path        string `json:"path,omitempty"`   // where it was, or was written to by a restore
	Format      string `json:"format,omitempty"` // restore: raw or qcow2
	// Secret is the UUID of the libvirt secret that opens the disk (LUKS): the point
	// keeps its value, and a restored disk is encrypted under it again.
	Secret string `json:"secret,omitempty"`
}

// BackupResult is one committed point.
type BackupResult struct {
	PointID     string      `json:"pointId"`
	Time        time.Time   `json:"time"` // the snapshot's moment, server clock
	Consistency Consistency `json:"consistency"`
	// Reason says what was proved, or why it is not better than Consistency.
	Reason    string        `json:"reason"`
	FrozenFor time.Duration `json:"frozenFor"` // how long the guest's file systems stood still
	VMSize    string        `json:"vmSize"`    // such as 2 vCPU, 1 GiB
	OSType    string        `json:"osType"`
	Disks     []DiskResult  `json:"disks"`
	Warnings  []string      `json:"warnings,omitempty"`
	// Kept is what was kept of the VM at that moment (VMFact.Kept).
	Kept map[string]any `json:"kept,omitempty"`
	// Copied are points of Waiting that are in the vault now, Lost those that
	// are not and that the operational repository has no more.
	Copied []string `json:"copied,omitempty"`
	Lost   []string `json:"lost,omitempty"`
}

// RestoreMode says what comes back (matrix RST-01 to RST-03).
type RestoreMode string

// The restore modes.
const (
	RestoreDisks RestoreMode = "RestoreDisks"
	CreateVM     RestoreMode = "AlternateLocation"
	// ReplaceDisks gives an existing VM the disks of a point; its own are kept.
	ReplaceDisks RestoreMode = "OriginalLocation"
	// CopyDisk makes a disk of an image that is there instead of a point's.
	CopyDisk RestoreMode = "CopyDisk"
)

// RestoreArgs asks for disks or a VM from a point.
type RestoreArgs struct {
	Site       SiteRef       `json:"site"`
	Repository RepositoryRef `json:"repository"`
	// Instant, if set, is an operational repository that has the point, too, or
	// has had it: it is read first.
	Instant RepositoryRef `json:"instant,omitzero"`
	PointID string        `json:"pointId"`
	// RestoreID is chosen when the job is made; it marks what this restore has
	// made, so that a run after a crash redoes its own work and no one else's.
	RestoreID string      `json:"restoreId"`
	Mode      RestoreMode `json:"mode"`
	// LUNs restores only these disks; nil is all (not CreateVM).
	LUNs []int `json:"luns,omitempty"`
	// Exactly one of Pool and Directory says where the disks go.
	Pool      string `json:"pool,omitempty"`
	Directory string `json:"directory,omitempty"` // absolute, on the site's host
	// Unmanaged puts them beside the pool's volumes, into its directory
	// UnmanagedDir, so that they are in no pool.
	Unmanaged bool   `json:"unmanaged,omitempty"`
	Format    string `json:"format"` // raw or qcow2
	// NamePrefix starts each restored file's name: PREFIX-vda.qcow2.
	NamePrefix string `json:"namePrefix"`
	// FileName is the whole name of the file when one disk comes back; "" is made
	// from NamePrefix.
	FileName string `json:"fileName,omitempty"`
	// CopyDisk only: the image, and the size of the new disk when it is to be
	// larger, bytes.
	Image     DiskFact `json:"image,omitzero"` // Path and Format
	ImageSize int64    `json:"imageSize,omitempty"`
	// ReplaceDisks only: the VM, and the job that has to have ended well before:
	// the backup of the VM as it is; "" when there need be none.
	VM    VMRef  `json:"vm,omitzero"`
	After string `json:"after,omitempty"`
	// Point is the ARM id of the point, for the template of restored disks; ""
	// makes no template.
	Point string `json:"point,omitempty"`
	// CreateVM only: disks that are there (LUN, Path, Format), of which the VM is
	// made instead of the point's, and what it then has otherwise than the point's
	// VM: NICs on these networks ("" leaves one where it was), processors and bytes
	// of memory (0 as they were), tags and kept members.
	Attach   []DiskFact        `json:"attach,omitempty"`
	Networks []string          `json:"networks,omitempty"`
	VCPUs    int               `json:"vcpus,omitempty"`
	Memory   int64             `json:"memory,omitempty"`
	Tags     map[string]string `json:"tags,omitempty"`
	Kept     map[string]any    `json:"kept,omitempty"`
	// CreateVM only.
	VMName  string `json:"vmName,omitempty"`
	Network string `json:"network,omitempty"` // libvirt network; "" keeps the point's
	// NICs are those that the VM had when its protection was enabled; nil is those
	// of the point.
	NICs []NICFact `json:"nics,omitempty"`
	// Isolated makes a VM without network, devices and folders of the host (CreateVM).
	Isolated bool `json:"isolated,omitempty"`
	// LeaveSets: the disk encryption sets that the point's disks name are another
	// site's, and the new VM names none (CreateVM).
	LeaveSets bool `json:"leaveSets,omitempty"`
	// BootFirst (CreateVM with Start) boots the VM at once, on disks that are filled
	// while it runs, at most FillRate bytes a second (0 is no limit).
	BootFirst bool  `json:"bootFirst,omitempty"`
	FillRate  int64 `json:"fillRate,omitempty"`
	// CreateVM and ReplaceDisks: boot it when it is defined.
	Start bool `json:"start,omitempty"`
	// KeepPaused (ReplaceDisks with Start): one that somebody had paused is paused
	// again, before its first instruction.
	KeepPaused bool `json:"keepPaused,omitempty"`
}

// RestoreResult is what came back.
type RestoreResult struct {
	Disks     []DiskResult `json:"disks"`
	VM        *VMRef       `json:"vm,omitempty"`
	Retained  []string     `json:"retained,omitempty"`  // paths of the disks that were replaced
	FollowUps []string     `json:"followUps,omitempty"` // what is left for the user to do
	Warnings  []string     `json:"warnings,omitempty"`
	// Template is the ARM template that makes a VM of restored disks, Definition
	// their libvirt domain XML.
	Template   json.RawMessage `json:"template,omitempty"`
	Definition string          `json:"definition,omitempty"`
}

// MachineAction is what can be done to a VM.
type MachineAction string

// The actions. Each says which state the VM ends in.
const (
	MachineStart   MachineAction = "Start"
	MachineStop    MachineAction = "PowerOff" // libvirt holds nothing of a VM that is off: this deallocates, too
	MachineRestart MachineAction = "Restart"
	MachineDelete  MachineAction = "Delete" // off and undefined; its disks stay
	MachineDisks   MachineAction = "Update" // attaches and detaches disks
	// MachineConvert moves the disks of a VM that is off into a pool (matrix MGT-07).
	MachineConvert MachineAction = "ConvertToManagedDisks"
)

// MachineArgs asks for one action on a VM.
type MachineArgs struct {
	Site   SiteRef       `json:"site"`
	VM     VMRef         `json:"vm"`
	Action MachineAction `json:"action"`
	// Force takes the power away at once instead of asking the guest first.
	Force  bool       `json:"force,omitempty"`
	Attach []DiskFact `json:"attach,omitempty"` // Path, Format, Bus; MachineDisks only
	Detach []string   `json:"detach,omitempty"` // targets; MachineDisks only
	// MachineConvert only: the pool, and which files go there.
	Pool string     `json:"pool,omitempty"`
	Move []DiskMove `json:"move,omitempty"`
}

// DiskMove is one disk file that goes into a pool.
type DiskMove struct {
	Target string `json:"target"` // libvirt's, such as vda
	From   string `json:"from"`   // path
	Name   string `json:"name"`   // of the file in the pool
}

// MachineResult says how the VM is after it.
type MachineResult struct {
	State string `json:"state"` // "" when it was deleted
}

// DeletePointsArgs asks for points to be deleted from a repository.
type DeletePointsArgs struct {
	Repository RepositoryRef `json:"repository"`
	PointIDs   []string      `json:"pointIds"`
	// Instant are points to be deleted from operational repositories.
	Instant []PointRef `json:"instant,omitempty"`
	// Hosts are the sites on which VMs may have checkpoints of these points, which
	// nobody needs then; Orphans are such that an earlier job could not remove.
	Hosts   []SiteRef `json:"hosts,omitempty"`
	Orphans []Orphan  `json:"orphans,omitempty"`
	// Rate limits what the collection after it moves, bytes per second; 0 = no limit.
	Rate int64 `json:"rate,omitempty"`
}

// Orphan is what a VM has of points that are gone.
type Orphan struct {
	VM          VMRef    `json:"vm"`
	Checkpoints []string `json:"checkpoints"` // their names
}

// DeletePointsResult says what was freed.
type DeletePointsResult struct {
	Deleted int   `json:"deleted"`
	Freed   int64 `json:"freed"` // bytes
	// Withheld are those of Instant that are there still, and that nobody can read:
	// their repository's key is not given.
	Withheld []PointRef `json:"withheld,omitempty"`
	// Orphans may still be there: a host did not answer.
	Orphans []Orphan `json:"orphans,omitempty"`
}

// Progress is how a mover tells its job what it is doing. Every method may be
// called from many goroutines and, but for Reached, returns at once.
type Progress interface {
	// Task starts the named sub-task ("Take Snapshot", "Transfer data to
	// vault") and ends the one before it as completed.
	Task(name string)
	// Bytes says how far the running task is. total may grow; 0 is unknown.
	Bytes(done, total int64)
	// Property records one fact of the job for its user ("Frozen for": "0.4 s").
	Property(key, value string)
	// Warn records something that did not fail the job but that its user must know.
	Warn(message string)
	// Reached gives what the job has come to, the Result of its kind, when that
	// is durable and of use though the work goes on: its user sees it from now
	// on, whatever becomes of the rest. It returns when it is recorded.
	Reached(result any) error
	// Cancellable says whether the job may be cancelled from here on
	// (matrix ACT-05: in the snapshot phase yes, in the transfer phase no).
	Cancellable(yes bool)
}

// Marshal is json.Marshal for the types of this package, which cannot fail.
func Marshal(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic("internal error: " + err.Error())
	}
	return b
}
