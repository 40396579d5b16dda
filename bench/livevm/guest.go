package livevm

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"holdfast/bench/image"
)

// Guest is a running domain with one qcow2 disk. It boots nothing: the disk
// changes because the bench writes to it through the guest's own QEMU device,
// as the guest would.
type Guest struct {
	Name string
	Dir  string // QEMU reaches it
	uri  string
}

// Start defines and starts a domain whose disk has the content of the raw
// image.
func Start(ctx context.Context, uri, name, raw string) (*Guest, error) {
	dir, err := os.MkdirTemp("", name+"-")
	if err != nil {
		return nil, err
	}
	g := &Guest{Name: name, Dir: dir, uri: uri}
	if err := os.Chmod(dir, 0o711); err != nil {
		return nil, err
	}
	if _, err := g.run(ctx, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, g.Disk()); err != nil {
		return nil, err
	}
	xml := fmt.Sprintf(`<domain type='qemu'>
  <name>%s</name>
  <memory unit='MiB'>128</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <on_crash>destroy</on_crash>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%s'/><target dev='vda' bus='virtio'/><alias name='ua-bench'/></disk>
    <memballoon model='none'/>
  </devices>
</domain>`, name, g.Disk())
	path := filepath.Join(dir, "domain.xml")
	if err := os.WriteFile(path, []byte(xml), 0o644); err != nil {
		return nil, err
	}
	if _, err := g.virsh(ctx, "define", path); err != nil {
		return nil, err
	}
	// Paused, so that software emulation of an idle machine takes no time from
	// what is measured. Its disk and its block jobs work all the same.
	_, err = g.virsh(ctx, "start", "--paused", name)
	return g, err
}

// Disk is the image that the guest runs on.
func (g *Guest) Disk() string { return filepath.Join(g.Dir, "disk.qcow2") }

// Stop takes the guest's power away; Remove takes the rest.
func (g *Guest) Stop(ctx context.Context) error {
	_, err := g.virsh(ctx, "destroy", g.Name)
	return err
}

// Remove forgets the domain and its files.
func (g *Guest) Remove(ctx context.Context) error {
	_ = g.Stop(ctx) // may be off already
	if _, err := g.virsh(ctx, "undefine", g.Name, "--checkpoints-metadata"); err != nil {
		return err
	}
	return os.RemoveAll(g.Dir)
}

// writeMost is how much one monitor command writes.
const writeMost = 1 << 20

// Apply writes day n of the chain to the running guest's disk.
func (g *Guest) Apply(ctx context.Context, c *image.Chain, n int) error {
	list, err := image.ReadDirtyMap(c.DirtyMap(n))
	if err != nil {
		return err
	}
	data, err := os.Open(c.Data(n))
	if err != nil {
		return err
	}
	defer data.Close()
	for _, e := range list {
		for at := int64(0); at < e.Length; at += writeMost {
			if err := g.write(ctx, data, e.Offset+at, min(writeMost, e.Length-at)); err != nil {
				return err
			}
		}
	}
	return nil
}

// write writes the next n bytes of data at off, through the guest's device.
func (g *Guest) write(ctx context.Context, data io.Reader, off, n int64) error {
	buffer := make([]byte, n)
	if _, err := io.ReadFull(data, buffer); err != nil {
		return err
	}
	path := filepath.Join(g.Dir, "piece")
	if err := os.WriteFile(path, buffer, 0o644); err != nil {
		return err
	}
	out, err := g.virsh(ctx, "qemu-monitor-command", "--hmp", g.Name,
		fmt.Sprintf(`qemu-io -d /machine/peripheral/ua-bench/virtio-backend "write -s %s %d %d"`, path, off, n))
	if err == nil && strings.TrimSpace(out) != "" && !strings.Contains(out, "wrote") {
		err = fmt.Errorf("write of %d bytes at %d: %s", n, off, strings.TrimSpace(out))
	}
	return err
}

func (g *Guest) virsh(ctx context.Context, args ...string) (string, error) {
	return g.run(ctx, "virsh", append([]string{"-q", "-c", g.uri}, args...)...)
}

func (g *Guest) run(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}
