package libvirt

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	rpc "github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"
	"libvirt.org/go/libvirtxml"

	"holdfast/internal/hypervisor"
)

// domainFacts reads one domain: its XML as it runs, its state, its disks' sizes.
func domainFacts(l *rpc.Libvirt, d rpc.Domain, pools []hypervisor.Pool) (hypervisor.Domain, error) {
	doc, err := l.DomainGetXMLDesc(d, 0)
	if err != nil {
		return hypervisor.Domain{}, err
	}
	f, err := parseDomain(doc)
	if err != nil {
		return hypervisor.Domain{}, err
	}
	f.UUID = uuid.UUID(d.UUID).String()
	if f.State, f.StateReason, err = state(l, d); err != nil {
		return hypervisor.Domain{}, err
	}
	if n, err := l.DomainIsPersistent(d); err == nil {
		f.Persistent = n == 1
	}
	if f.State.Active() {
		f.RuntimeDir = runtimeDir(d.ID)
	} else if n, err := l.DomainHasManagedSaveImage(d, 0); err == nil {
		f.Saved = n == 1
	}
	for i := range f.Disks {
		completeDisk(l, d, &f.Disks[i], pools)
	}
	return f, nil
}

// runtimeDir is the directory that libvirt makes for the sockets of a running
// domain: domain-ID-NAME, with the name cut to 20 characters. The AppArmor
// profile that libvirt writes for the domain has it (virt-aa-helper.c, libvirt
// 9.0: "/var/lib/libvirt/qemu/domain-%d-%.*s/*" rw).
func runtimeDir(id int32) string {
	found, err := filepath.Glob(fmt.Sprintf("/var/lib/libvirt/qemu/domain-%d-*", id))
	if err != nil || len(found) != 1 {
		return ""
	}
	return found[0]
}

// completeDisk adds what only libvirt can say of a disk: its path when it is a
// volume, its pool, its size. What cannot be told stays empty.
func completeDisk(l *rpc.Libvirt, d rpc.Domain, disk *hypervisor.Disk, pools []hypervisor.Pool) {
	if volume, ok := strings.CutPrefix(disk.Path, "volume:"); ok {
		disk.Path = ""
		if p, err := l.StoragePoolLookupByName(disk.Pool); err == nil {
			if v, err := l.StorageVolLookupByName(p, volume); err == nil {
				disk.Path, _ = l.StorageVolGetPath(v)
			}
		}
	}
	if disk.Path == "" {
		return
	}
	for _, p := range pools {
		if filepath.Dir(disk.Path) == filepath.Clean(p.Path) {
			disk.Pool = p.Name
		}
	}
	if _, capacity, _, err := l.DomainGetBlockInfo(d, disk.Target, 0); err == nil {
		disk.Size = int64(capacity)
	}
}

// identity reads name and UUID of a domain's XML.
func identity(doc string) (name, id string, err error) {
	var x libvirtxml.Domain
	if err := x.Unmarshal(doc); err != nil {
		return "", "", err
	}
	if x.Name == "" {
		return "", "", errors.New("no <name>")
	}
	return x.Name, x.UUID, nil
}

// parseDomain reads the facts that the XML alone tells
// (https://libvirt.org/formatdomain.html).
func parseDomain(doc string) (hypervisor.Domain, error) {
	var x libvirtxml.Domain
	if err := x.Unmarshal(doc); err != nil {
		return hypervisor.Domain{}, err
	}
	f := hypervisor.Domain{Name: x.Name, UUID: x.UUID, QEMUUser: -1, QEMUGroup: -1}
	if x.VCPU != nil {
		f.VCPUs = int(x.VCPU.Value)
		if x.VCPU.Current != 0 {
			f.VCPUs = int(x.VCPU.Current)
		}
	}
	if x.Memory != nil {
		f.MemoryBytes = int64(x.Memory.Value) * unit(x.Memory.Unit)
	}
	if x.Metadata != nil {
		f.Metadata = x.Metadata.XML
		f.OSInfo = osInfo(x.Metadata.XML)
	}
	if x.OS != nil {
		firmware(&f, x.OS)
	}
	if s := x.LaunchSecurity; s != nil {
		f.Confidential = launchSecurity(s)
	}
	for _, s := range x.SecLabel {
		if s.Model == "dac" {
			f.QEMUUser, f.QEMUGroup = dacLabel(s.Label)
		}
	}
	if x.Devices != nil {
		devices(&f, x.Devices)
	}
	return f, nil
}

// unit is the size in bytes of a unit of memory; KiB when none is given.
func unit(u string) int64 {
	switch u {
	case "b", "bytes":
		return 1
	case "KB":
		return 1000
	case "M", "MiB":
		return 1 << 20
	case "MB":
		return 1000_000
	case "G", "GiB":
		return 1 << 30
	case "GB":
		return 1000_000_000
	case "T", "TiB":
		return 1 << 40
	case "TB":
		return 1000_000_000_000
	}
	return 1 << 10
}

var osInfoID = regexp.MustCompile(`<(?:\w+:)?os\s[^>]*\bid=["']([^"']+)["']`)

// osInfo finds the libosinfo id in a domain's metadata.
func osInfo(metadata string) string {
	if !strings.Contains(metadata, "libosinfo.org") {
		return ""
	}
	if m := osInfoID.FindStringSubmatch(metadata); m != nil {
		return m[1]
	}
	return ""
}

func firmware(f *hypervisor.Domain, os *libvirtxml.DomainOS) {
	if os.Type != nil {
		f.Arch, f.Machine = os.Type.Arch, os.Type.Machine
	}
	f.UEFI = os.Firmware == "efi"
	if os.Loader != nil {
		f.UEFI = f.UEFI || os.Loader.Type == "pflash"
		f.SecureBoot = os.Loader.Secure == "yes"
	}
	if os.NVRam != nil {
		f.NVRAM = strings.TrimSpace(os.NVRam.NVRam)
		if s := os.NVRam.Source; s != nil && s.File != nil {
			f.NVRAM = s.File.File
		}
	}
}

func launchSecurity(s *libvirtxml.DomainLaunchSecurity) string {
	switch {
	case s.SEV != nil:
		return "sev"
	case s.SEVSNP != nil:
		return "sev-snp"
	case s.S390PV != nil:
		return "s390-pv"
	case s.TDX != nil:
		return "tdx"
	}
	return "unknown"
}

// dacLabel reads "+64055:+64055", the user and group that QEMU runs as.
func dacLabel(label string) (user, group int) {
	u, g, _ := strings.Cut(label, ":")
	user, err1 := strconv.Atoi(strings.TrimPrefix(u, "+"))
	group, err2 := strconv.Atoi(strings.TrimPrefix(g, "+"))
	if err1 != nil || err2 != nil {
		return -1, -1
	}
	return user, group
}

func devices(f *hypervisor.Domain, x *libvirtxml.DomainDeviceList) {
	for i := range x.Disks {
		f.Disks = append(f.Disks, diskFacts(&x.Disks[i]))
	}
	for i := range x.Interfaces {
		f.NICs = append(f.NICs, nicFacts(&x.Interfaces[i]))
	}
	for _, c := range x.Channels {
		if c.Target != nil && c.Target.VirtIO != nil && c.Target.VirtIO.Name == "org.qemu.guest_agent.0" {
			f.AgentChannel = true
			f.AgentConnected = c.Target.VirtIO.State == "connected"
		}
	}
	for _, t := range x.TPMs {
		f.TPM = &hypervisor.TPM{Model: t.Model}
		if t.Backend != nil && t.Backend.Emulator != nil {
			f.TPM.Version = t.Backend.Emulator.Version
			dir := "tpm2"
			if f.TPM.Version == "1.2" {
				dir = "tpm1.2"
			}
			// libvirt's layout of swtpm state (qemu_tpm.c).
			f.TPM.StatePath = filepath.Join("/var/lib/libvirt/swtpm", f.UUID, dir)
		}
	}
	f.HostDevices = len(x.Hostdevs)
}

func diskFacts(x *libvirtxml.DomainDisk) hypervisor.Disk {
	d := hypervisor.Disk{
		Device:    x.Device,
		Serial:    x.Serial,
		ReadOnly:  x.ReadOnly != nil,
		Shareable: x.Shareable != nil,
		Transient: x.Transient != nil,
	}
	if e := encryption(x); e != nil {
		d.Encrypted, d.Cipher = true, e.Format
		if len(e.Secrets) == 1 {
			d.Secret = hypervisor.SecretRef{UUID: e.Secrets[0].UUID, Usage: e.Secrets[0].Usage}
		}
	}
	if d.Device == "" {
		d.Device = "disk"
	}
	if x.Target != nil {
		d.Target, d.Bus = x.Target.Dev, x.Target.Bus
	}
	if x.Driver != nil {
		d.Format, d.Cache = x.Driver.Type, x.Driver.Cache
	}
	if x.Boot != nil {
		d.Boot = int(x.Boot.Order)
	}
	d.Kind, d.Path, d.Pool = source(x.Source)
	if b := x.BackingStore; b != nil && b.Source != nil {
		_, d.Backing, _ = source(b.Source)
		if n := b.Source.Network; n != nil && n.Protocol == "nbd" && len(n.Hosts) == 1 {
			d.BackingSocket = n.Hosts[0].Socket
		}
	}
	d.Mirror = mirrorFacts(x.Mirror)
	return d
}

// source reads kind and path of a disk source. A volume's path is not in the
// XML: it comes back as "volume:NAME" with its pool, for completeDisk.
func source(s *libvirtxml.DomainDiskSource) (kind, path, pool string) {
	switch {
	case s == nil:
		return "", "", ""
	case s.File != nil:
		return "file", s.File.File, ""
	case s.Block != nil:
		return "block", s.Block.Dev, ""
	case s.Volume != nil:
		return "volume", "volume:" + s.Volume.Volume, s.Volume.Pool
	case s.Network != nil:
		return "network", "", ""
	case s.NVME != nil:
		return "nvme", "", ""
	case s.Dir != nil:
		return "dir", "", ""
	}
	return "other", "", ""
}

func nicFacts(x *libvirtxml.DomainInterface) hypervisor.NIC {
	n := hypervisor.NIC{}
	if x.MAC != nil {
		n.MAC = x.MAC.Address
	}
	if x.Model != nil {
		n.Model = x.Model.Type
	}
	switch s := x.Source; {
	case s == nil:
	case s.Network != nil:
		n.Kind, n.Source = "network", s.Network.Network
	case s.Bridge != nil:
		n.Kind, n.Source = "bridge", s.Bridge.Bridge
	case s.User != nil:
		n.Kind = "user"
	case s.Direct != nil:
		n.Kind, n.Source = "direct", s.Direct.Dev
	default:
		n.Kind = "other"
	}
	return n
}
