package snapshot

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"holdfast/internal/hypervisor"
	"holdfast/internal/luks"
)

// imageInfo is what qemu-img info says of one image of a chain
// (BlockNodeInfo in QEMU's QAPI schema).
type imageInfo struct {
	Filename string `json:"filename"`
	Format   string `json:"format"`
	Size     int64  `json:"virtual-size"`
	Backing  string `json:"full-backing-filename"`
	Specific struct {
		Data struct {
			Compat  string   `json:"compat"`
			Bitmaps []bitmap `json:"bitmaps"`
		} `json:"data"`
	} `json:"format-specific"`
}

// bitmap is a persistent dirty bitmap in an image's header.
type bitmap struct {
	Name  string   `json:"name"`
	Flags []string `json:"flags"`
}

// inUse says that QEMU did not close the image: the bitmap is not to be trusted.
func (b bitmap) inUse() bool { return slices.Contains(b.Flags, "in-use") }

// recording says that every write is recorded.
func (b bitmap) recording() bool { return slices.Contains(b.Flags, "auto") }

// chain is an image and what lies under it, the image first.
type chain []imageInfo

// inspect reads the headers of a disk's images. It takes no lock (-U), since a
// running guest holds them; it only reads.
func inspect(ctx context.Context, d hypervisor.Disk) (chain, error) {
	if d.Path == "" {
		return nil, fmt.Errorf("disk %s: source of kind %s has no path", d.Target, d.Kind)
	}
	format := d.Format
	if d.Encrypted {
		format = luks.Format(format) // what is not the guest's is asked without the key
	}
	cmd := exec.CommandContext(ctx, "qemu-img", "info", "-U", "--backing-chain", "--output=json", "-f", format, "--", d.Path)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("disk %s: qemu-img info: %w: %s", d.Target, err, strings.TrimSpace(stderr.String()))
	}
	return parseChain(out)
}

func parseChain(out []byte) (chain, error) {
	var c chain
	if err := json.Unmarshal(out, &c); err != nil {
		return nil, fmt.Errorf("qemu-img info: %w", err)
	}
	if len(c) == 0 {
		return nil, fmt.Errorf("qemu-img info: no image")
	}
	return c, nil
}

// version2: the image's format is older than dirty bitmaps.
func (c chain) version2() bool { return c[0].Format == "qcow2" && c[0].Specific.Data.Compat == "0.10" }

// usable says whether a bitmap holds every write to the image since it was
// made, and why not. It must be in the image on top and only there: in a chain,
// each image would hold the writes of its own time.
func (c chain) usable(name string) (bool, string) {
	for i, img := range c {
		for _, b := range img.Specific.Data.Bitmaps {
			switch {
			case b.Name != name:
			case i > 0:
				return false, "its dirty bitmap lies in a backing image"
			case b.inUse():
				return false, "its dirty bitmap is marked in use: QEMU did not close the image properly"
			case !b.recording():
				return false, "its dirty bitmap is switched off"
			}
		}
	}
	if !slices.ContainsFunc(c[0].Specific.Data.Bitmaps, func(b bitmap) bool { return b.Name == name }) {
		return false, "its dirty bitmap is missing"
	}
	return true, ""
}
