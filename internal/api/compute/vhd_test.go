package compute

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestVHDFooter: QEMU takes a disk with the footer for a fixed VHD of the disk's
// size.
func TestVHDFooter(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("qemu-img is not there")
	}
	for _, size := range []int64{1 << 20, 5<<20 + 512, 256 << 20, 3 << 30, 200 << 30} {
		file := filepath.Join(t.TempDir(), "disk.vhd")
		f, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(VHDFooter(size, time.Now()), size); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("qemu-img", "info", "--output=json", "--image-opts", "driver=vpc,force_size_calc=current_size,file.filename="+file).Output()
		var info struct {
			Size   int64  `json:"virtual-size"`
			Format string `json:"format"`
		}
		if err == nil {
			err = json.Unmarshal(out, &info)
		}
		if err != nil || info.Size != size || info.Format != "vpc" {
			t.Errorf("%d bytes: %s, %v", size, out, err)
		}
	}
}
