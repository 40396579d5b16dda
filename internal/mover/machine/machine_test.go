package machine

import (
	"bytes"
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/guestlab"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/libvirt"
	"holdfast/internal/mover"
)

// silent is a Progress that keeps only warnings.
type silent struct{ warnings []string }

func (*silent) Reached(any) error       { return nil }
func (*silent) Task(string)             {}
func (*silent) Bytes(int64, int64)      {}
func (*silent) Property(string, string) {}
func (*silent) Cancellable(bool)        {}
func (s *silent) Warn(m string)         { s.warnings = append(s.warnings, m) }

// TestRealMachine does to a real guest, step by step, all that can be done to one.
func TestRealMachine(t *testing.T) {
	g := guestlab.New(t, guestlab.Options{Name: "machine"})
	m := Mover{Hosts: func(ctx context.Context, s holdfast.SiteRef) (hypervisor.Host, error) {
		return libvirt.Connect(ctx, s.URI)
	}}
	r := &real{T: t, m: m, guest: g, site: holdfast.SiteRef{Name: "here", URI: guestlab.URI}, vm: holdfast.VMRef{UUID: g.UUID, Name: g.Name}}
	r.pool()
	r.tags(map[string]string{"Kosten & Stelle": "<4>", "b": ""})
	r.kept(map[string]any{"zones": []any{"1"}, "disks": map[string]any{"vda": map[string]any{"caching": "ReadOnly"}}})
	r.tags(map[string]string{"b": "2"})
	r.disk()
	r.tags(nil)
	r.kept(nil)
	p := &silent{}
	r.do(p, holdfast.MachineArgs{Action: holdfast.MachineRestart})
	r.do(p, holdfast.MachineArgs{Action: holdfast.MachineStart}) // once more is no error
	g.WaitAgent()
	r.do(p, holdfast.MachineArgs{Action: holdfast.MachineStop})
	if len(p.warnings) > 0 {
		t.Errorf("a guest that listens was not asked: %v", p.warnings)
	}
	r.do(p, holdfast.MachineArgs{Action: holdfast.MachineStop, Force: true})
	r.paused()
	r.luns()
	r.converted()
	r.do(p, holdfast.MachineArgs{Action: holdfast.MachineDelete})
	r.do(p, holdfast.MachineArgs{Action: holdfast.MachineDelete})
	if _, err := os.Stat(g.Disks[0]); err != nil {
		t.Errorf("the disk of a deleted machine: %v", err)
	}
}

type real struct {
	*testing.T
	m     Mover
	guest *guestlab.Guest
	site  holdfast.SiteRef
	vm    holdfast.VMRef
	name  string // of the pool
}

// pool makes a storage pool for the length of the test.
func (r *real) pool() {
	r.Helper()
	dir := guestlab.Dir(r.T)
	r.name = filepath.Base(dir)
	virsh := func(args ...string) {
		if out, err := exec.Command("virsh", append([]string{"-q", "-c", guestlab.URI}, args...)...).CombinedOutput(); err != nil {
			r.Fatalf("virsh %v: %v\n%s", args, err, out)
		}
	}
	virsh("pool-create-as", r.name, "dir", "--target", dir)
	r.Cleanup(func() { virsh("pool-destroy", r.name) })
}

func (r *real) do(p *silent, a holdfast.MachineArgs) {
	r.Helper()
	a.Site, a.VM = r.site, r.vm
	if _, err := r.m.Run(r.Context(), a, p); err != nil {
		r.Fatalf("%s: %v", a.Action, err)
	}
}

// tags sets tags and reads them from the definition and from the running guest.
func (r *real) tags(want map[string]string) {
	r.Helper()
	if err := r.m.SetTags(r.Context(), r.site, r.vm, want); err != nil {
		r.Fatal(err)
	}
	d, err := r.guest.Host.Domain(r.Context(), r.vm.UUID)
	if err != nil || !maps.Equal(mover.Tags(d.Metadata), want) {
		r.Errorf("tags %v, %v; want %v", mover.Tags(d.Metadata), err, want)
	}
	doc, err := r.guest.Host.DomainXML(r.Context(), r.vm.UUID)
	if err != nil || strings.Contains(doc, mover.TagsSpace) != (want != nil) {
		r.Errorf("the definition does not say so: %v\n%s", err, doc)
	}
}

// kept keeps members that libvirt has no word for, beside the tags.
func (r *real) kept(want map[string]any) {
	r.Helper()
	if err := r.m.SetKept(r.Context(), r.site, r.vm, want); err != nil {
		r.Fatal(err)
	}
	d, err := r.guest.Host.Domain(r.Context(), r.vm.UUID)
	if err != nil || !reflect.DeepEqual(mover.Kept(d.Metadata), want) {
		r.Errorf("kept %v, %v; want %v", mover.Kept(d.Metadata), err, want)
	}
}

// named is the disk of a name as the site lists it.
func (r *real) named(name string) (holdfast.VolumeFact, bool) {
	r.Helper()
	all, err := r.m.Disks(r.Context(), r.site)
	if err != nil {
		r.Fatal(err)
	}
	for _, v := range all {
		if v.Name == name && v.Pool == r.name {
			return v, true
		}
	}
	return holdfast.VolumeFact{}, false
}

// disk makes a disk, plugs it into the running guest, grows it there, pulls it
// out, grows it again and deletes it.
func (r *real) disk() {
	r.Helper()
	ctx, p := r.Context(), &silent{}
	if err := r.m.CreateDisk(ctx, r.site, holdfast.VolumeFact{Name: "extra", Pool: r.name, Format: "qcow2", Size: 1 << 30}); err != nil {
		r.Fatal(err)
	}
	if err := r.m.CreateDisk(ctx, r.site, holdfast.VolumeFact{Name: "extra", Pool: r.name, Format: "qcow2", Size: 1 << 30}); holdfast.KindOf(err) != holdfast.Conflict {
		r.Errorf("a disk that is there: %v", err)
	}
	v, ok := r.named("extra")
	if !ok || v.Size != 1<<30 || v.Format != "qcow2" || v.VM.UUID != "" {
		r.Fatalf("made: %+v", v)
	}
	attach := holdfast.MachineArgs{Action: holdfast.MachineDisks, Attach: []holdfast.DiskFact{{LUN: 5, Path: v.Path, Format: v.Format, Bus: "virtio"}}}
	r.do(p, attach)
	r.do(p, attach) // run again after a crash
	v, _ = r.named("extra")
	if v.VM.UUID != r.vm.UUID || v.Target == "" || !v.Running {
		r.Fatalf("attached: %+v", v)
	}
	if err := r.m.GrowDisk(ctx, r.site, v, 2<<30); err != nil {
		r.Fatal(err)
	}
	if got := strings.TrimSpace(r.guest.Sh("cat /sys/block/" + v.Target + "/size")); got != "4194304" {
		r.Errorf("the guest sees %s sectors, want those of 2 GiB", got)
	}
	detach := holdfast.MachineArgs{Action: holdfast.MachineDisks, Detach: []string{v.Target}}
	r.do(p, detach)
	r.do(p, detach)
	v, _ = r.named("extra")
	if v.VM.UUID != "" || v.Size != 2<<30 {
		r.Errorf("detached: %+v", v)
	}
	if err := r.m.GrowDisk(ctx, r.site, v, 3<<30); err != nil {
		r.Fatal(err)
	}
	if v, _ = r.named("extra"); v.Size != 3<<30 {
		r.Errorf("grown: %+v", v)
	}
	if err := r.m.DeleteDisk(ctx, r.site, v); err != nil {
		r.Fatal(err)
	}
	if _, ok := r.named("extra"); ok {
		r.Error("a deleted disk is there")
	}
}

// paused gives the machine, which is off, power without booting it, and stops it:
// a guest that cannot listen is not waited for.
func (r *real) paused() {
	r.Helper()
	for range 2 {
		if err := r.guest.Host.StartPaused(r.Context(), r.vm.UUID); err != nil {
			r.Fatal(err)
		}
	}
	d, err := r.guest.Host.Domain(r.Context(), r.vm.UUID)
	if err != nil || d.State != hypervisor.Paused || d.StateReason != hypervisor.PausedUser {
		r.Fatalf("it is %s (%s), %v", d.State, d.StateReason, err)
	}
	p, start := &silent{}, time.Now()
	r.do(p, holdfast.MachineArgs{Action: holdfast.MachineStop})
	if len(p.warnings) != 1 || time.Since(start) > time.Minute {
		r.Errorf("after %s: %v", time.Since(start), p.warnings)
	}
}

// luns plugs two disks into the machine that is off, the first with a LUN of its
// choice, pulls out the second and then the first: the LUN of what stays stays.
func (r *real) luns() {
	r.Helper()
	at := func() map[string]int {
		d, err := r.guest.Host.Domain(r.Context(), r.vm.UUID)
		if err != nil {
			r.Fatal(err)
		}
		luns := map[string]int{}
		for _, k := range mover.DiskFacts(d) {
			luns[filepath.Base(k.Path)] = k.LUN
		}
		return luns
	}
	var disks []holdfast.VolumeFact
	for _, name := range []string{"one", "two"} {
		if err := r.m.CreateDisk(r.Context(), r.site, holdfast.VolumeFact{Name: name, Pool: r.name, Format: "raw", Size: 1 << 20}); err != nil {
			r.Fatal(err)
		}
		v, _ := r.named(name)
		r.do(&silent{}, holdfast.MachineArgs{Action: holdfast.MachineDisks, Attach: []holdfast.DiskFact{{LUN: 5, Path: v.Path, Format: v.Format, Bus: "virtio"}}})
		v, _ = r.named(name)
		disks = append(disks, v)
	}
	before := at()
	if before["one"] != 5 || before["two"] == 5 || before["two"] < 0 {
		r.Errorf("LUNs: %v", before)
	}
	r.do(&silent{}, holdfast.MachineArgs{Action: holdfast.MachineDisks, Detach: []string{disks[1].Target}})
	if after := at(); after["one"] != 5 || len(after) != len(before)-1 {
		r.Errorf("LUNs without the second: %v, before %v", after, before)
	}
	r.do(&silent{}, holdfast.MachineArgs{Action: holdfast.MachineDisks, Attach: []holdfast.DiskFact{{LUN: 7, Path: disks[1].Path, Format: "raw", Bus: "virtio"}}})
	r.do(&silent{}, holdfast.MachineArgs{Action: holdfast.MachineDisks, Detach: []string{disks[0].Target}})
	if after := at(); after["two"] != 7 {
		r.Errorf("LUNs without the first: %v", after)
	}
}

// converted moves the system disk, which is on the file system of the pool, and a
// disk on another one into the pool.
func (r *real) converted() {
	r.Helper()
	away := filepath.Join(another(r.T), "away.qcow2")
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", away, "8M").CombinedOutput(); err != nil {
		r.Fatalf("%v\n%s", err, out)
	}
	was, err := os.ReadFile(away)
	if err != nil {
		r.Fatal(err)
	}
	r.do(&silent{}, holdfast.MachineArgs{Action: holdfast.MachineDisks, Attach: []holdfast.DiskFact{{LUN: 9, Path: away, Format: "qcow2", Bus: "virtio"}}})
	convert := holdfast.MachineArgs{Action: holdfast.MachineConvert, Pool: r.name}
	d, err := r.guest.Host.Domain(r.Context(), r.vm.UUID)
	if err != nil {
		r.Fatal(err)
	}
	for _, k := range d.Disks {
		if k.Pool == "" && k.Path != "" {
			convert.Move = append(convert.Move, holdfast.DiskMove{Target: k.Target, From: k.Path, Name: "moved-" + k.Target})
		}
	}
	if len(convert.Move) != 2 {
		r.Fatalf("disks in no pool: %+v", convert.Move)
	}
	r.do(&silent{}, convert)
	r.do(&silent{}, convert) // once more is no error
	for _, k := range convert.Move {
		v, ok := r.named(k.Name)
		if _, err := os.Stat(k.From); !ok || v.Target != k.Target || v.VM.UUID != r.vm.UUID || !os.IsNotExist(err) {
			r.Errorf("%s: %+v, the old file: %v", k.Target, v, err)
		}
		if k.From == away {
			if is, err := os.ReadFile(v.Path); err != nil || !bytes.Equal(is, was) {
				r.Errorf("the copied image is not what it was: %v", err)
			}
		} else {
			r.guest.Disks[0] = v.Path
		}
	}
}

// deaf is a host whose guest does not listen.
type deaf struct {
	hypervisor.Host
	asked, destroyed int
}

func (d *deaf) Close() error                           { return nil }
func (d *deaf) Shutdown(context.Context, string) error { d.asked++; return nil }
func (d *deaf) Destroy(context.Context, string) error  { d.destroyed++; return nil }
func (d *deaf) Domain(context.Context, string) (hypervisor.Domain, error) {
	if d.destroyed > 0 {
		return hypervisor.Domain{State: hypervisor.ShutOff}, nil
	}
	return hypervisor.Domain{State: hypervisor.Running}, nil
}

// TestDeafGuest: one that does not power itself off loses its power, and that is said.
func TestDeafGuest(t *testing.T) {
	t.Parallel()
	host, p := &deaf{}, &silent{}
	m := Mover{Hosts: func(context.Context, holdfast.SiteRef) (hypervisor.Host, error) { return host, nil }, Grace: 1}
	r, err := m.Run(t.Context(), holdfast.MachineArgs{Action: holdfast.MachineStop}, p)
	if err != nil || r.State != "shutoff" || host.asked != 1 || host.destroyed != 1 || len(p.warnings) != 1 {
		t.Errorf("%+v, %v; asked %d, destroyed %d, said %v", r, err, host.asked, host.destroyed, p.warnings)
	}
}
