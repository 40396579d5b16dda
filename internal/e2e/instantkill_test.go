package e2e

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/guestlab"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/libvirt"
)

// idleSize is the size of a disk of an idle machine, bytes.
const idleSize = 48 << 20

// idle is a machine that runs and does nothing: what its guest writes, the test
// writes through its QEMU, and so knows what every byte has to be.
type idle struct {
	*server
	host  *libvirt.Host
	rnd   *rand.Rand
	dir   string
	point [2][]byte // what the disks had at the point
	guest [2][]byte // what those of the restored machine have to have
}

// TestInstantKilled restores an idle machine instantly, over and over, and kills
// (-9) the server and QEMU at random moments meanwhile. At the end all that was
// written and flushed is there, and every other byte is the point's.
func TestInstantKilled(t *testing.T) {
	if os.Getenv("HOLDFAST_SOAK") == "" {
		t.Skip("minutes of kills: HOLDFAST_SOAK=1 runs it, HOLDFAST_TRIALS=n so many times (20)")
	}
	trials, err := strconv.Atoi(cmp.Or(os.Getenv("HOLDFAST_TRIALS"), "20"))
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	m := &idle{server: serve(t, t.TempDir()), host: guestlab.Host(t), rnd: rand.New(rand.NewPCG(seed, 1)), dir: guestlab.Dir(t)}
	name := fmt.Sprintf("holdfast-lab-idle-%x", seed)
	point := m.protect(name)
	for i := range trials {
		m.trial(point, name, fmt.Sprintf("%s-%d", name, i))
		if t.Failed() {
			return
		}
	}
}

// protect makes the machine, and a point of it.
func (m *idle) protect(name string) (point string) {
	t := m.t
	t.Helper()
	disks := ""
	for i := range m.point {
		m.point[i] = make([]byte, idleSize)
		for at := range idleSize / 2 {
			m.point[i][at] = byte(m.rnd.Uint32())
		}
		image := filepath.Join(m.dir, fmt.Sprintf("own%d.qcow2", i))
		if err := os.WriteFile(m.raw(i), m.point[i], 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("qemu-img", "convert", "-O", "qcow2", m.raw(i), image).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		disks += fmt.Sprintf("<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%s'/><target dev='vd%c' bus='virtio'/></disk>", image, 'a'+i)
	}
	uuid, err := m.host.Define(t.Context(), fmt.Sprintf(`<domain type='qemu'><name>%s</name><memory unit='MiB'>64</memory>
		<os><type arch='x86_64' machine='q35'>hvm</type></os><devices>%s<memballoon model='none'/></devices></domain>`, name, disks))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { undefine(t, m.host, uuid) })
	m.run("site", "register", "home", "--uri", guestlab.URI, "--resource-group", "lab")
	m.run("vault", "create", "safe")
	m.run("protect", "start", name)
	m.run("backup", name)
	return "latest"
}

// trial is one restore.
func (m *idle) trial(point, of, name string) {
	t := m.t
	t.Helper()
	format := []string{"qcow2", "raw"}[m.rnd.IntN(2)]
	for i := range m.point {
		m.guest[i] = bytes.Clone(m.point[i])
	}
	job := strings.TrimSpace(m.run("restore", "vm", of, "--point", point, "--name", name, "--directory", m.dir, "--instant", "--fill-rate", "8", "--format", format, "--no-wait"))
	uuid := ""
	until(t, name+" is started", 20*time.Millisecond, func() bool {
		d, err := m.host.DomainNamed(t.Context(), name)
		uuid = d.UUID
		return err == nil && d.State == hypervisor.Running
	})
	t.Cleanup(func() { m.gone(name) })
	var story []string
	for m.state(job) == "InProgress" {
		switch n := m.rnd.IntN(24); n {
		case 0:
			story = append(story, "server killed")
			m.server.kill()
			time.Sleep(time.Duration(m.rnd.IntN(2000)) * time.Millisecond) // how long it is away is part of the trial
			m.server = serve(t, m.data)
		case 1, 2:
			story = append(story, "QEMU killed")
			m.killQEMU(name)
			if n == 2 {
				story = append(story, "started")
				m.startAgain(uuid)
			}
		default:
			m.write(name)
		}
	}
	if s := m.state(job); !strings.HasPrefix(s, "Completed") {
		t.Errorf("%s (%s): the job ended as %s", name, strings.Join(story, ", "), s)
	}
	m.check(uuid, name, format, strings.Join(story, ", "))
}

// state is how far a job is.
func (m *idle) state(id string) string {
	m.t.Helper()
	type job struct {
		Properties struct{ Status string }
	}
	return query[job](m.server, "job", "show", id).Properties.Status
}

// killQEMU kills the machine's QEMU and waits until libvirt knows.
func (m *idle) killQEMU(name string) {
	m.t.Helper()
	pid, err := os.ReadFile(filepath.Join("/run/libvirt/qemu", name+".pid"))
	if err != nil {
		return // it is off
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(pid)))
	if err != nil {
		m.t.Fatal(err)
	}
	_ = syscall.Kill(n, syscall.SIGKILL)
	until(m.t, "libvirt sees that it is off", 20*time.Millisecond, func() bool {
		d, err := m.host.DomainNamed(m.t.Context(), name)
		return err == nil && !d.State.Active()
	})
}

// startAgain starts the machine as its user would, again while its images are
// locked.
func (m *idle) startAgain(uuid string) {
	m.t.Helper()
	until(m.t, "it starts again", 100*time.Millisecond, func() bool { return m.host.Start(m.t.Context(), uuid) == nil })
}

// write writes and flushes somewhere on a disk, as the guest would, if the machine
// runs. QEMU does not say whether that went well, so what fails, for the server was
// away, is found by reading, and written once more.
func (m *idle) write(name string) {
	m.t.Helper()
	i, value := m.rnd.IntN(len(m.guest)), byte(m.rnd.Uint32())
	length := 512 * (1 + m.rnd.IntN(400))
	at := m.rnd.IntN((idleSize-length)/512) * 512
	done := false
	until(m.t, "it is written", 20*time.Millisecond, func() bool {
		device := fmt.Sprintf("/machine/peripheral/virtio-disk%d/virtio-backend", i)
		err := exec.Command("virsh", "-q", "-c", guestlab.URI, "qemu-monitor-command", "--hmp", name,
			fmt.Sprintf(`qemu-io -d %s "write -f -P %d %d %d"`, device, value, at, length)).Run()
		d, err2 := m.host.DomainNamed(m.t.Context(), name)
		if err2 != nil {
			m.t.Fatal(err2)
		}
		if !d.State.Active() {
			return true
		}
		done = err == nil && m.reads(i, d.Disks[i].Path, value, at, length)
		return done
	})
	for k := range length {
		if done {
			m.guest[i][at+k] = value
		}
	}
}

// reads says whether a range of an image, which a QEMU may have open, is all of one
// value.
func (m *idle) reads(i int, path string, value byte, at, length int) bool {
	m.t.Helper()
	file := func(path string) map[string]any {
		return map[string]any{"driver": "file", "filename": path, "locking": "off"}
	}
	image := map[string]any{"driver": strings.TrimPrefix(filepath.Ext(path), "."), "file": file(path)}
	if image["driver"] == "overlay" {
		image["driver"], image["backing"] = "qcow2", map[string]any{"driver": "raw", "file": file(m.raw(i))}
	}
	node, err := json.Marshal(image)
	if err != nil {
		m.t.Fatal(err)
	}
	out, err := exec.Command("qemu-io", "-r", "-U", "-c", fmt.Sprintf("read -P %d %d %d", value, at, length), "json:"+string(node)).CombinedOutput()
	return err == nil && bytes.Contains(out, []byte("read ")) && !bytes.Contains(out, []byte("failed"))
}

// raw is the file with what a disk had at the point.
func (m *idle) raw(i int) string { return filepath.Join(m.dir, fmt.Sprintf("point%d", i)) }

// check takes the machine's power and reads its disks.
func (m *idle) check(uuid, name, format, story string) {
	t := m.t
	t.Helper()
	d, err := m.host.Domain(t.Context(), uuid)
	if err != nil {
		t.Fatal(err)
	}
	if d.State == hypervisor.Paused {
		t.Errorf("%s (%s): it was left paused (%s)", name, story, d.StateReason)
	}
	if err := m.host.Destroy(t.Context(), uuid); err != nil {
		t.Fatal(err)
	}
	xml, err := m.host.DomainXML(t.Context(), uuid)
	if err != nil || strings.Contains(xml, "nbd") || strings.Contains(xml, "policy") || strings.Contains(xml, "overlay") {
		t.Errorf("%s (%s): %v; its definition is\n%s", name, story, err, xml)
	}
	raw := filepath.Join(m.dir, "raw")
	for i := range m.guest {
		path := filepath.Join(m.dir, fmt.Sprintf("%s-vd%c.%s", name, 'a'+i, format))
		if out, err := exec.Command("qemu-img", "convert", "-f", format, "-O", "raw", path, raw).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		got, err := os.ReadFile(raw)
		if err != nil {
			t.Fatal(err)
		}
		if at := different(got, m.guest[i]); at >= 0 {
			t.Errorf("%s (%s): disk %d, %s, differs from byte %d on", name, story, i, format, at)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(m.dir, ".holdfast-*")); len(left) > 0 {
		t.Errorf("%s (%s): left behind: %v", name, story, left)
	}
	t.Logf("%s, %s, %s at the end: %s", name[strings.LastIndex(name, "-")+1:], format, d.State, story)
	m.gone(name)
}

// gone takes a restored machine away, with its disks.
func (m *idle) gone(name string) {
	if d, err := m.host.DomainNamed(m.t.Context(), name); err == nil {
		undefine(m.t, m.host, d.UUID)
	}
	disks, _ := filepath.Glob(filepath.Join(m.dir, name+"-vd*"))
	for _, d := range disks {
		_ = os.Remove(d)
	}
}

// different is the first byte in which two disks differ; -1 for none.
func different(a, b []byte) int {
	if len(a) != len(b) {
		return min(len(a), len(b))
	}
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}
