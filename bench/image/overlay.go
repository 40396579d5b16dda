package image

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// overlay is a qcow2 file over a raw image, seen as a plain file through
// QEMU's FUSE export. What was written since it was made is what it holds.
type overlay struct {
	qcow2 string // the overlay file
	face  string // the plain file that QEMU serves
	pid   int    // of qemu-storage-daemon
}

// openOverlay makes an empty overlay over the raw image and serves it.
func openOverlay(ctx context.Context, raw string) (*overlay, error) {
	dir := filepath.Dir(raw)
	o := &overlay{qcow2: filepath.Join(dir, "overlay.qcow2"), face: filepath.Join(dir, "overlay.face")}
	os.Remove(o.qcow2)
	if _, err := run(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw",
		"-o", fmt.Sprintf("cluster_size=%d", Granularity), o.qcow2); err != nil {
		return nil, err
	}
	if err := os.WriteFile(o.face, nil, 0o600); err != nil {
		return nil, err
	}
	pidfile := filepath.Join(dir, "overlay.pid")
	if _, err := run(ctx, "qemu-storage-daemon", "--daemonize", "--pidfile", pidfile,
		"--blockdev", "driver=qcow2,node-name=day,discard=unmap,file.driver=file,file.filename="+o.qcow2,
		"--export", "fuse,id=day,node-name=day,writable=on,mountpoint="+o.face); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(pidfile)
	if err != nil {
		return nil, err
	}
	o.pid, err = strconv.Atoi(strings.TrimSpace(string(b)))
	return o, err
}

// written is the bytes that the overlay holds now; the file system above must
// have been synced.
func (o *overlay) written() (int64, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(o.qcow2, &st); err != nil {
		return 0, err
	}
	return st.Blocks * 512, nil
}

// close ends the export and waits until QEMU has let go of the file.
func (o *overlay) close() error {
	if err := syscall.Kill(o.pid, syscall.SIGTERM); err != nil {
		return err
	}
	for range 600 {
		if syscall.Kill(o.pid, 0) != nil {
			return os.Remove(o.face)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("qemu-storage-daemon %d does not end", o.pid)
}

// extents lists what the overlay holds, in order. The export must be closed.
func (o *overlay) extents(ctx context.Context) ([]Extent, error) {
	out, err := run(ctx, "qemu-img", "map", "--output=json", o.qcow2)
	if err != nil {
		return nil, err
	}
	var rows []struct {
		Start, Length int64
		Depth         int
	}
	if err := json.Unmarshal([]byte(out), &rows); err != nil {
		return nil, fmt.Errorf("qemu-img map: %w", err)
	}
	var list []Extent
	for _, r := range rows {
		if r.Depth != 0 {
			continue
		}
		if n := len(list); n > 0 && list[n-1].Offset+list[n-1].Length == r.Start {
			list[n-1].Length += r.Length
			continue
		}
		list = append(list, Extent{Offset: r.Start, Length: r.Length})
	}
	return list, nil
}
