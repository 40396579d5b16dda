package restore

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"holdfast"
	"holdfast/internal/disk/disktest"
	"holdfast/internal/hypervisor"
)

// told is a Progress that nobody reads.
type told struct{ holdfast.Progress }

func (told) Task(string)             {}
func (told) Cancellable(bool)        {}
func (told) Bytes(int64, int64)      {}
func (told) Property(string, string) {}
func (told) Warn(string)             {}

// TestCopyImage makes a larger disk of an image; one whose name is taken leaves
// everything as it was.
func TestCopyImage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	content := make([]byte, 3<<20)
	disktest.Fill(content[1<<20:2<<20], 1)
	from := filepath.Join(t.TempDir(), "gold")
	if err := os.WriteFile(from, content, 0o600); err != nil {
		t.Fatal(err)
	}
	m := Mover{Hosts: func(context.Context, holdfast.SiteRef) (hypervisor.Host, error) { return defined{}, nil }}
	args := holdfast.RestoreArgs{RestoreID: "r1", Directory: dir, Mode: holdfast.CopyDisk, FileName: "new", Format: "raw",
		Image: holdfast.DiskFact{Path: from, Format: "raw"}, ImageSize: 4 << 20}
	res, err := m.Run(t.Context(), args, told{})
	if err != nil || len(res.Disks) != 1 || res.Disks[0].Size != 4<<20 {
		t.Fatalf("%+v, %v", res, err)
	}
	if err := m.Forget(t.Context(), args); err != nil {
		t.Fatal(err)
	}
	want(t, dir, "new")
	got, err := os.ReadFile(filepath.Join(dir, "new"))
	if err != nil || len(got) != 4<<20 || !bytes.Equal(got[:3<<20], content) || !bytes.Equal(got[3<<20:], make([]byte, 1<<20)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	// An image that takes its bytes from another file gives nothing of it away.
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-b", from, "-F", "raw", from+".qcow2").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file="+from+".data", from+".outside", "3M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, path := range []string{from + ".qcow2", from + ".outside"} {
		leak := args
		leak.RestoreID, leak.FileName, leak.Image = "r3", "leak", holdfast.DiskFact{Path: path, Format: "qcow2"}
		if _, err := m.Run(t.Context(), leak, told{}); err == nil {
			t.Errorf("%s was copied", path)
		}
		want(t, dir, "new")
	}
	args.RestoreID = "r2"
	if _, err := m.Run(t.Context(), args, told{}); holdfast.KindOf(err) != holdfast.Conflict {
		t.Errorf("a name that is taken: %v", err)
	}
	want(t, dir, "new")
}
