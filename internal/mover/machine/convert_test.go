package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast"
	"holdfast/internal/disk/disktest"
	"holdfast/internal/hypervisor"
	"holdfast/internal/matrix"
)

const fileSize = 300<<10 + 7 // the bytes of an image are not always whole sectors

// moving is a host with one VM whose disks are in no pool, and the place that all
// requests to the host and all news of the mover pass: a run dies there like a
// process, for whoever comes after it never goes on.
type moving struct {
	hypervisor.Host
	t         *testing.T
	out, pool string // directories

	mu     sync.Mutex
	xml    string
	state  hypervisor.State
	runs   string // the definition that it runs with
	others []hypervisor.Domain
	refuse error          // of a definition
	before func(step int) // something that happens before a step
	dieAt  int            // the how manieth step kills; 0 none
	steps  int
	died   chan struct{}
}

func newMoving(t *testing.T, out, pool string) *moving {
	t.Helper()
	m := &moving{t: t, out: out, pool: pool, state: hypervisor.ShutOff, died: make(chan struct{})}
	var disks string
	for i, target := range []string{"vda", "vdb"} {
		path := filepath.Join(out, target)
		if err := os.WriteFile(path, imageOf(i), 0o640); err != nil {
			t.Fatal(err)
		}
		disks += `<disk type="file" device="disk"><source file="` + path + `"/><target dev="` + target + `" bus="virtio"/></disk>`
	}
	m.xml = `<domain><name>web</name><uuid>u-1</uuid><devices><disk type="file" device="cdrom"><target dev="sda" bus="sata"/></disk>` + disks + `</devices></domain>`
	return m
}

// imageOf is a file with a hole in it.
func imageOf(disk int) []byte {
	b := make([]byte, fileSize)
	disktest.Fill(b[:100<<10], uint64(disk+1))
	disktest.Fill(b[200<<10:], uint64(disk+3))
	return b
}

func (m *moving) step() {
	m.mu.Lock()
	m.steps++
	n := m.steps
	if m.before != nil {
		m.before(n)
	}
	m.mu.Unlock()
	if n == m.dieAt {
		close(m.died)
		select {}
	}
}

func (m *moving) Close() error                              { return nil }
func (m *moving) RefreshPool(context.Context, string) error { return nil }

func (m *moving) Pool(context.Context, string) (hypervisor.Pool, error) {
	return hypervisor.Pool{Name: "default", Path: m.pool}, nil
}

func (m *moving) of(do func() error) error {
	m.step()
	defer m.step()
	m.mu.Lock()
	defer m.mu.Unlock()
	return do()
}

func (m *moving) DomainXML(context.Context, string) (xml string, err error) {
	err = m.of(func() error { xml = m.xml; return nil })
	return xml, err
}

func (m *moving) Redefine(_ context.Context, _, xml string) error {
	return m.of(func() error {
		if m.refuse == nil {
			m.xml = xml
		}
		return m.refuse
	})
}

func (m *moving) Domain(context.Context, string) (d hypervisor.Domain, err error) {
	err = m.of(func() error { d = m.domain(); return nil })
	return d, err
}

func (m *moving) Domains(context.Context) (all []hypervisor.Domain, err error) {
	err = m.of(func() error { all = append(m.others, m.domain()); return nil })
	return all, err
}

func (m *moving) domain() hypervisor.Domain {
	xml := m.xml
	if m.state.Active() {
		xml = m.runs
	}
	d := hypervisor.Domain{UUID: "u-1", Name: "web", State: m.state, Persistent: true}
	for _, target := range []string{"vda", "vdb"} {
		d.Disks = append(d.Disks, hypervisor.Disk{Target: target, Device: "disk", Kind: "file", Path: pathIn(m.t, xml, target)})
	}
	return d
}

func pathIn(t *testing.T, xml, target string) string {
	t.Helper()
	_, source, err := sourceOf(xml, target)
	if err != nil {
		t.Fatal(err)
	}
	return source.SelectAttrValue("file", "")
}

// news is the mover's Progress there.
type news struct{ *moving }

func (n news) Task(string)             { n.step() }
func (n news) Cancellable(bool)        { n.step() }
func (n news) Bytes(int64, int64)      { n.step() }
func (n news) Property(string, string) { n.step() }
func (n news) Reached(any) error       { n.step(); return nil }
func (n news) Warn(string)             { n.step() }

func (m *moving) convert() error {
	mover := Mover{Hosts: func(context.Context, holdfast.SiteRef) (hypervisor.Host, error) { return m, nil }}
	_, err := mover.Run(context.WithoutCancel(m.t.Context()), holdfast.MachineArgs{VM: holdfast.VMRef{UUID: "u-1", Name: "web"}, Action: holdfast.MachineConvert, Pool: "default", Move: []holdfast.DiskMove{
		{Target: "vda", From: filepath.Join(m.out, "vda"), Name: "os.qcow2"}, {Target: "vdb", From: filepath.Join(m.out, "vdb"), Name: "data.qcow2"},
	}}, news{m})
	return err
}

// bootable fails the test unless each disk that the VM is defined with is whole.
func (m *moving) bootable(when string) {
	m.t.Helper()
	m.mu.Lock()
	xml := m.xml
	m.mu.Unlock()
	for i, target := range []string{"vda", "vdb"} {
		if got, err := os.ReadFile(pathIn(m.t, xml, target)); err != nil || !bytes.Equal(got, imageOf(i)) {
			m.t.Fatalf("%s: the disk %s at %s is not whole: %v", when, target, pathIn(m.t, xml, target), err)
		}
	}
}

// files are the names in a directory.
func files(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// converted fails the test unless the VM has its disks in the pool, and nowhere else.
func (m *moving) converted(when string) {
	m.t.Helper()
	m.bootable(when)
	if vda := pathIn(m.t, m.xml, "vda"); vda != filepath.Join(m.pool, "os.qcow2") || files(m.t, m.out) != "" || files(m.t, m.pool) != "data.qcow2 os.qcow2" {
		m.t.Fatalf("%s: vda is %s; outside are %q, in the pool %q", when, vda, files(m.t, m.out), files(m.t, m.pool))
	}
	if info, err := os.Stat(filepath.Join(m.pool, "os.qcow2")); err != nil || info.Mode().Perm() != 0o640 {
		m.t.Fatalf("%s: its mode is %v, %v", when, info, err)
	}
}

// unchanged fails the test unless all is as it was before.
func (m *moving) unchanged(when string) {
	m.t.Helper()
	m.bootable(when)
	if vda := pathIn(m.t, m.xml, "vda"); vda != filepath.Join(m.out, "vda") || files(m.t, m.out) != "vda vdb" {
		m.t.Fatalf("%s: vda is %s; outside are %q", when, vda, files(m.t, m.out))
	}
}

// another makes a directory on another file system than t.TempDir.
func another(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "holdfast-move-")
	if err != nil {
		t.Skipf("no second file system: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var here, there unix.Stat_t
	if err := errors.Join(unix.Stat(t.TempDir(), &here), unix.Stat(dir, &there)); err != nil || here.Dev == there.Dev {
		t.Skipf("/dev/shm is not another file system than that of temporary files: %v", err)
	}
	return dir
}

// TestConvertDiesAtEveryStep kills a conversion at each step that can be seen from
// outside, on one file system and across two. The VM has whole disks at once, and
// the next run ends the work.
func TestConvertDiesAtEveryStep(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "MGT-07")
	for name, pool := range map[string]func(*testing.T) string{"linked": (*testing.T).TempDir, "copied": another} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole := newMoving(t, t.TempDir(), pool(t))
			if err := whole.convert(); err != nil {
				t.Fatal(err)
			}
			whole.converted("undisturbed")
			for at := 1; at <= whole.steps; at++ {
				m, when := newMoving(t, t.TempDir(), pool(t)), fmt.Sprintf("killed at step %d of %d", at, whole.steps)
				m.dieAt = at
				go func() { _ = m.convert() }()
				<-m.died
				m.bootable(when)
				if err := m.convert(); err != nil {
					t.Fatalf("%s: %v", when, err)
				}
				m.converted(when)
			}
		})
	}
}

// TestConvertKeepsWhatIsStarted starts the VM at each step: its disks are never
// taken from under it, and what it runs on is what it is defined with.
func TestConvertKeepsWhatIsStarted(t *testing.T) {
	t.Parallel()
	for at := 1; ; at++ {
		m, when := newMoving(t, t.TempDir(), another(t)), fmt.Sprintf("started at step %d", at)
		m.before = func(step int) {
			if step == at {
				m.state, m.runs = hypervisor.Running, m.xml
			}
		}
		err := m.convert()
		if m.steps < at {
			return // the VM was started after the end
		}
		m.bootable(when)
		for _, target := range []string{"vda", "vdb"} {
			if on, defined := pathIn(t, m.runs, target), pathIn(t, m.xml, target); on != defined || err != nil && holdfast.KindOf(err) != holdfast.Conflict {
				t.Fatalf("%s: it runs on %s, and is defined with %s: %v", when, on, defined, err)
			}
			if _, err := os.Stat(pathIn(t, m.runs, target)); err != nil {
				t.Fatalf("%s: it runs on a file that is gone: %v", when, err)
			}
		}
		m.state = hypervisor.ShutOff
		if err := m.convert(); err != nil {
			t.Fatalf("%s, and off again: %v", when, err)
		}
		m.converted(when)
	}
}

// TestConvertRefuses leaves all as it was.
func TestConvertRefuses(t *testing.T) {
	t.Parallel()
	other := func(k hypervisor.Disk) func(*moving) {
		return func(m *moving) {
			m.others = []hypervisor.Domain{{UUID: "u-2", Name: "db", Disks: []hypervisor.Disk{k}}}
			for i := range m.others[0].Disks {
				d := &m.others[0].Disks[i]
				d.Path, d.Backing = strings.ReplaceAll(d.Path, "~", m.out), strings.ReplaceAll(d.Backing, "~", m.out)
			}
		}
	}
	for _, c := range []struct {
		name string
		with func(*moving)
		kind holdfast.Kind
		says string
	}{
		{"running", func(m *moving) { m.state, m.runs = hypervisor.Running, m.xml }, holdfast.Conflict, "az vm deallocate"},
		{"paused", func(m *moving) { m.state, m.runs = hypervisor.Paused, m.xml }, holdfast.Conflict, "az vm deallocate"},
		{"name taken", func(m *moving) { _ = os.WriteFile(filepath.Join(m.pool, "os.qcow2"), []byte("mine"), 0o600) }, holdfast.Conflict, "exists already"},
		{"a definition that libvirt does not take", func(m *moving) { m.refuse = hypervisor.ErrInvalid }, holdfast.Invalid, ""},
		{"written to meanwhile", func(m *moving) {
			var once sync.Once
			m.before = func(int) {
				if left, _ := filepath.Glob(filepath.Join(m.pool, ".holdfast-move-*")); len(left) > 0 {
					once.Do(func() { _ = os.WriteFile(filepath.Join(m.out, "vda"), imageOf(0), 0o640) })
				}
			}
		}, holdfast.Conflict, "written to while"},
		{"two VMs", other(hypervisor.Disk{Target: "vda", Path: "~/vdb"}), holdfast.Conflict, "Detach"},
		{"a backing image", other(hypervisor.Disk{Target: "vda", Path: "/x", Backing: "~/vdb"}), holdfast.Conflict, "blockpull"},
		{"a link", func(m *moving) {
			_ = os.Rename(filepath.Join(m.out, "vdb"), m.out+"-kept")
			_ = os.Symlink(m.out+"-kept", filepath.Join(m.out, "vdb"))
		}, holdfast.Unsupported, "pool-define-as"},
	} {
		m := newMoving(t, t.TempDir(), another(t))
		c.with(m)
		if err := m.convert(); holdfast.KindOf(err) != c.kind || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
		m.unchanged(c.name)
		if left := files(t, m.pool); left != "" && c.name != "name taken" {
			t.Errorf("%s: in the pool is %q", c.name, left)
		}
	}
}

// TestConvertNeedsRoom: disks that do not fit are not begun.
func TestConvertNeedsRoom(t *testing.T) {
	t.Parallel()
	pool := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=400k", "none", pool).CombinedOutput(); err != nil {
		t.Skipf("no small file system can be mounted: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", pool).Run() })
	m := newMoving(t, t.TempDir(), pool)
	if err := m.convert(); holdfast.KindOf(err) != holdfast.Full || !strings.Contains(fmt.Sprint(err), "another pool") {
		t.Errorf("two disks of 200 KiB in 400: %v", err)
	}
	m.unchanged("no room")
	if left := files(t, pool); left != "" {
		t.Errorf("in the pool is %q", left)
	}
}
