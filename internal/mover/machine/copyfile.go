package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"holdfast"
	"holdfast/internal/disk"
	"holdfast/internal/disk/raw"
)

// copyFile makes a new file of the bytes, mode and owner of another, with holes
// where that has them. When it returns without error the copy is durable, was
// read again and has the same bytes, and the original did not change meanwhile.
func copyFile(ctx context.Context, from, to string, progress func(done, total int64)) error {
	var was, is unix.Stat_t
	if err := unix.Stat(from, &was); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	source, err := raw.OpenSource(from)
	if err != nil {
		return err
	}
	defer source.Close()
	if err := fill(ctx, to, source, was, progress); err != nil {
		return err
	}
	if err := same(ctx, source, to); err != nil {
		return err
	}
	if err := unix.Stat(from, &is); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	if is.Mtim != was.Mtim || is.Size != was.Size || is.Ino != was.Ino {
		return holdfast.Errorf(holdfast.Conflict, from, "%s was written to while it was copied.", from).WithHint("See that nothing uses it, and convert the VM again.")
	}
	return nil
}

// fill makes the copy, durable, with the mode and owner of st.
func fill(ctx context.Context, path string, source *raw.Source, st unix.Stat_t, progress func(done, total int64)) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_ = f.Chown(int(st.Uid), int(st.Gid)) // where that cannot be, libvirt gives it to QEMU at the start
	err = f.Chmod(os.FileMode(st.Mode & 0o777))
	target, targetErr := raw.NewTarget(f, source.Size())
	if err = errors.Join(err, targetErr); err != nil {
		return errors.Join(err, f.Close())
	}
	_, err = disk.Copy(ctx, target, source, disk.CopyOptions{Progress: progress})
	if err == nil {
		err = target.Sync()
	}
	// What is read again is to come from the disk, not from memory.
	return errors.Join(err, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), target.Close())
}

// same reads a copy again, where the original has data: elsewhere it was made
// empty and not written to.
func same(ctx context.Context, source *raw.Source, path string) error {
	copied, err := raw.OpenSource(path)
	if err != nil {
		return err
	}
	defer copied.Close()
	if copied.Size() != source.Size() {
		return holdfast.Errorf(holdfast.Damaged, path, "The copy %s has %d bytes, and the original %d.", path, copied.Size(), source.Size())
	}
	want, got := make([]byte, 1<<20), make([]byte, 1<<20)
	for e, err := range source.Extents(ctx) {
		if err != nil {
			return err
		}
		for off := e.Offset; e.Kind == disk.Data && off < e.Offset+e.Length; off += int64(len(want)) {
			n := min(int64(len(want)), e.Offset+e.Length-off)
			if _, err := source.ReadAt(want[:n], off); err != nil {
				return err
			}
			if _, err := copied.ReadAt(got[:n], off); err != nil {
				return err
			}
			if !bytes.Equal(want[:n], got[:n]) {
				return holdfast.Errorf(holdfast.Damaged, path, "The copy %s reads otherwise than what was written to it, at %d.", path, off).
					WithHint("The disk below that pool, or the memory of the host, is not sound; the original is where it was.")
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
