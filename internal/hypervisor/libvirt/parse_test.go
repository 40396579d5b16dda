package libvirt

import (
	"errors"
	"reflect"
	"testing"

	rpc "github.com/digitalocean/go-libvirt"

	"holdfast/internal/hypervisor"
)

const fullDomain = `<domain type='kvm'><name>web</name><uuid>6ba7b810-9dad-11d1-80b4-00c04fd430c8</uuid>
<metadata><libosinfo:libosinfo xmlns:libosinfo="http://libosinfo.org/xmlns/libvirt/domain/1.0"><libosinfo:os id="http://debian.org/debian/12"/></libosinfo:libosinfo></metadata>
<memory unit='GiB'>2</memory><vcpu current='2'>4</vcpu>
<os firmware='efi'><type arch='x86_64' machine='q35'>hvm</type><loader readonly='yes' secure='yes' type='pflash'>/code</loader><nvram template='/vars'>/nvram.fd</nvram></os>
<seclabel type='dynamic' model='dac' relabel='yes'><label>+64055:+108</label></seclabel>
<launchSecurity type='sev'><policy>0x1</policy></launchSecurity>
<devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/><source file='/a.qcow2'/><backingStore type='file'><format type='raw'/><source file='/base'/></backingStore><target dev='vda' bus='virtio'/><serial>s1</serial><boot order='1'/></disk>
<disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='/dev/vg/b'/><target dev='sda' bus='scsi'/><shareable/></disk>
<disk type='volume' device='disk'><driver name='qemu' type='raw'/><source pool='p' volume='v'/><target dev='sdb' bus='sata'/><transient/></disk>
<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='rbd' name='x'/><target dev='sdc' bus='scsi'/></disk>
<disk type='file' device='cdrom'><target dev='sdd' bus='sata'/><readonly/></disk>
<interface type='network'><mac address='52:54:00:00:00:01'/><source network='default'/><model type='virtio'/></interface>
<interface type='bridge'><source bridge='br0'/></interface>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>
<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>
<hostdev mode='subsystem' type='pci'><source><address domain='0' bus='1' slot='0' function='0'/></source></hostdev>
</devices></domain>`

func TestConfinement(t *testing.T) {
	t.Parallel()
	for doc, want := range map[string]string{
		`<capabilities><host><secmodel><model>none</model><doi>0</doi></secmodel><secmodel><model>dac</model></secmodel></host></capabilities>`:               "",
		`<capabilities><host><secmodel><model>apparmor</model><doi>0</doi></secmodel><secmodel><model>dac</model></secmodel></host></capabilities>`:           "apparmor",
		`<capabilities><host><secmodel><model>selinux</model><baselabel type='kvm'>system_u:system_r:svirt_t:s0</baselabel></secmodel></host></capabilities>`: "selinux",
	} {
		if got, err := confinement(doc); err != nil || got != want {
			t.Errorf("%s: %q, %v", doc, got, err)
		}
	}
	if _, err := confinement("<"); err == nil {
		t.Error("broken XML is read")
	}
}

func TestParseDomain(t *testing.T) {
	t.Parallel()
	got, err := parseDomain(fullDomain)
	if err != nil {
		t.Fatal(err)
	}
	got.Metadata = ""
	want := hypervisor.Domain{
		Name: "web", UUID: "6ba7b810-9dad-11d1-80b4-00c04fd430c8", VCPUs: 2, MemoryBytes: 2 << 30,
		Arch: "x86_64", Machine: "q35", UEFI: true, SecureBoot: true, NVRAM: "/nvram.fd",
		TPM: &hypervisor.TPM{Model: "tpm-crb", Version: "2.0",
			StatePath: "/var/lib/libvirt/swtpm/6ba7b810-9dad-11d1-80b4-00c04fd430c8/tpm2"},
		Confidential: "sev", HostDevices: 1, QEMUUser: 64055, QEMUGroup: 108,
		AgentChannel: true, AgentConnected: true, OSInfo: "http://debian.org/debian/12",
		Disks: []hypervisor.Disk{
			{Target: "vda", Device: "disk", Bus: "virtio", Kind: "file", Path: "/a.qcow2", Format: "qcow2", Serial: "s1", Cache: "none", Boot: 1, Backing: "/base"},
			{Target: "sda", Device: "disk", Bus: "scsi", Kind: "block", Path: "/dev/vg/b", Format: "raw", Shareable: true},
			{Target: "sdb", Device: "disk", Bus: "sata", Kind: "volume", Path: "volume:v", Pool: "p", Format: "raw", Transient: true},
			{Target: "sdc", Device: "disk", Bus: "scsi", Kind: "network", Format: "raw"},
			{Target: "sdd", Device: "cdrom", Bus: "sata", Kind: "file", ReadOnly: true},
		},
		NICs: []hypervisor.NIC{
			{MAC: "52:54:00:00:00:01", Kind: "network", Source: "default", Model: "virtio"},
			{Kind: "bridge", Source: "br0"},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestBackupXMLIsReadBack(t *testing.T) {
	t.Parallel()
	doc, point, err := backupXML(hypervisor.Backup{Socket: "/s/nbd", Checkpoint: "c", Omit: []string{"sda"},
		Disks: []hypervisor.BackupDisk{{Target: "vda", Scratch: "/s/vda", Since: "b", Bitmap: true}, {Target: "vdb", Scratch: "/s/vdb"}}})
	if err != nil {
		t.Fatal(err)
	}
	job, err := parseJob(doc)
	if err != nil || job.Socket != "/s/nbd" || !reflect.DeepEqual(job.Scratch, []string{"/s/vda", "/s/vdb"}) {
		t.Errorf("%+v, %v\n%s", job, err, doc)
	}
	if point == "" {
		t.Error("no checkpoint")
	}
	if _, point, _ := backupXML(hypervisor.Backup{Socket: "/s"}); point != "" {
		t.Errorf("a checkpoint without a name: %s", point)
	}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	for want, e := range map[error]rpc.Error{
		hypervisor.ErrNoDomain:     {Code: uint32(rpc.ErrNoDomain), Message: "Domain not found"},
		hypervisor.ErrNotRunning:   {Code: uint32(rpc.ErrOperationInvalid), Message: "Requested operation is not valid: domain is not running"},
		hypervisor.ErrExists:       {Code: uint32(rpc.ErrOperationFailed), Message: "operation failed: domain 'x' already exists with uuid 1"},
		hypervisor.ErrBusy:         {Code: uint32(rpc.ErrOperationTimeout), Message: "cannot acquire state change lock"},
		hypervisor.ErrNoSlot:       {Code: uint32(rpc.ErrInternalError), Message: "internal error: No more available PCI slots"},
		hypervisor.ErrNoCheckpoint: {Code: uint32(rpc.ErrNoDomainCheckpoint), Message: "no domain checkpoint"},
	} {
		if err := classify(e); !errors.Is(err, want) || !errors.As(err, new(rpc.Error)) {
			t.Errorf("%v: %v, want %v", e, err, want)
		}
	}
	err := classify(rpc.Error{Code: uint32(rpc.ErrCheckpointInconsistent),
		Message: "checkpoint inconsistent: missing or broken bitmap 'holdfast-1' for disk 'vdb'"})
	var b *hypervisor.BitmapError
	if !errors.As(err, &b) || !errors.Is(err, hypervisor.ErrBitmap) || b.Target != "vdb" || b.Checkpoint != "holdfast-1" {
		t.Errorf("%v: %+v", err, b)
	}
	if err := classify(nil); err != nil {
		t.Error(err)
	}
}

func FuzzParseDomain(f *testing.F) {
	f.Add(fullDomain)
	f.Add("<domain/>")
	f.Fuzz(func(t *testing.T, doc string) {
		parseDomain(doc)
		identity(doc)
		parseJob(doc)
	})
}
