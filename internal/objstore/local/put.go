package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"holdfast/internal/objstore"
)

// Put: write, sync, link, sync the directory, remove the temporary name. The
// order is what makes every crash harmless; see the package comment.
func (s *Store) Put(ctx context.Context, name string, body objstore.Body, opt objstore.PutOptions) error {
	if err := begin(ctx, name); err != nil {
		return s.fail("put", name, err)
	}
	if !opt.RetainUntil.IsZero() {
		return s.fail("put", name, errNoRetention)
	}
	if opt.LeaveRoom {
		if err := s.leavesRoom(body.Size()); err != nil {
			return s.fail("put", name, err)
		}
	}
	if err := s.put(ctx, name, body); err != nil {
		return s.fail("put", name, err)
	}
	return nil
}

// leavesRoom fails with ErrFull if size bytes more would take the last room. A
// file system that doesn't say how large it is (some of FUSE) has no last room.
func (s *Store) leavesRoom(size int64) error {
	free, total, err := s.fs.Room()
	if err != nil || total == 0 {
		return err
	}
	if last := objstore.LastRoom(total); free-size < last {
		return fmt.Errorf("%w: %d bytes are free, of which %d are for deleting", objstore.ErrFull, free, last)
	}
	return nil
}

func (s *Store) put(ctx context.Context, name string, body objstore.Body) error {
	dir := path.Dir(name)
	if err := s.makeDir(dir); err != nil {
		return err
	}
	// Cheap when it's there already; Link decides when two race.
	if err := s.exists(name); err != nil {
		return err
	}
	f, tmp, err := s.createTemp()
	if err != nil {
		return err
	}
	defer f.Close()
	err = s.publish(ctx, f, tmp, name, body)
	if err == nil || errors.Is(err, objstore.ErrExist) {
		if serr := s.fs.SyncDir(dir); serr != nil {
			return serr // the temporary name stays as the sign of it
		}
	}
	_ = s.fs.Remove(tmp) // what can't be removed now, the next opening removes
	return err
}

// publish fills f and links it to name.
func (s *Store) publish(ctx context.Context, f File, tmp, name string, body objstore.Body) error {
	if err := copyBody(ctx, f, body); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err := s.fs.Link(tmp, name)
	switch {
	case !errors.Is(err, fs.ErrExist):
		return err
	case s.isSame(tmp, name):
		return nil
	}
	return s.exists(name)
}

// isSame says whether the two names are of one file: over NFS a link whose answer
// was lost is made again by the kernel, and then fails although it's ours.
func (s *Store) isSame(a, b string) bool {
	x, err := s.fs.Stat(a)
	if err != nil {
		return false
	}
	y, err := s.fs.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// exists returns ErrExist, durably, if there is such an object; ErrInvalid if
// the name is a directory; nil if there is nothing.
func (s *Store) exists(name string) error {
	info, err := s.fs.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w: a part of the name is an object: %w", objstore.ErrInvalid, err)
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%w: there are objects below that name", objstore.ErrInvalid)
	}
	if err := s.fs.SyncDir(path.Dir(name)); err != nil {
		return err
	}
	return fmt.Errorf("%w: %w", objstore.ErrExist, fs.ErrExist)
}

// copyBody writes all of body to w in pieces, looking at ctx between them.
func copyBody(ctx context.Context, w io.Writer, body objstore.Body) error {
	size := body.Size()
	buf := make([]byte, min(size, 1<<20))
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		piece := buf[:min(size-off, int64(len(buf)))]
		if n, err := body.ReadAt(piece, off); n < len(piece) {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read body at %d: %w", off, err)
		}
		if _, err := w.Write(piece); err != nil {
			return err
		}
		off += int64(len(piece))
	}
	return nil
}

func (s *Store) createTemp() (File, string, error) {
	if err := s.makeDir(tmpDir); err != nil {
		return nil, "", err
	}
	for {
		tmp := tmpDir + "/" + rand.Text()
		f, err := s.fs.Create(tmp)
		if !errors.Is(err, fs.ErrExist) {
			return f, tmp, err
		}
	}
}

// makeDir makes dir and what is above it, durably. A directory that was there
// already may be another process's, a moment old: it's synced once too.
func (s *Store) makeDir(dir string) error {
	if dir == "." || s.isDurable(dir) {
		return nil
	}
	parent := path.Dir(dir)
	if err := s.makeDir(parent); err != nil {
		return err
	}
	switch err := s.fs.Mkdir(dir); {
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w: a part of the name is an object: %w", objstore.ErrInvalid, err)
	case errors.Is(err, fs.ErrExist):
		info, err := s.fs.Stat(dir)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fmt.Errorf("%w: %q, a part of the name, is an object", objstore.ErrInvalid, dir)
		}
	case err != nil:
		return err
	}
	if err := s.fs.SyncDir(parent); err != nil {
		return err
	}
	s.mu.Lock()
	s.durable[dir] = struct{}{}
	s.mu.Unlock()
	return nil
}

func (s *Store) isDurable(dir string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.durable[dir]
	return ok
}

// recover makes durable what cut puts may have left visible, then removes
// their temporary files. A store that can't be written to is left as it is.
func (s *Store) recover(ctx context.Context) error {
	left, err := s.fs.ReadDir(tmpDir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil || len(left) == 0 {
		return err
	}
	if err := s.syncTree(ctx, "."); err != nil {
		return err
	}
	for _, e := range left {
		_, err := s.fs.Reap(tmpDir + "/" + e.Name())
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(classify(err), objstore.ErrPermission) {
			return err
		}
	}
	return nil
}

func (s *Store) syncTree(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := s.fs.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() && objstore.ValidName(e.Name()) == nil {
			if err := s.syncTree(ctx, path.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return s.fs.SyncDir(dir)
}
