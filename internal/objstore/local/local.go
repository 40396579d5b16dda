// Package local is an object store in a directory of a file system.
//
// An object is a file of the same relative name, so that a store can be copied
// with any tool. Names with other characters than objstore.ValidName allows
// ("+tmp", "lost+found") are not objects.
//
// Put writes a temporary file in "+tmp", syncs it, links it to its name (which
// never replaces one), syncs the directories, and only then removes the
// temporary name. So the temporary name of a dead process is the sign that a
// put was cut: the next opening makes durable what that put may have left
// visible, and removes it. Files in use by living processes, on this machine
// or (over NFS) on another, are told by their lock and left alone.
//
// A put that leaves room (PutOptions.LeaveRoom) looks at what the file system has
// free; several at once may each see the same.
//
// Promised beyond the contract: files have mode 0600, directories 0700; no
// name leads out of the directory; a directory that was removed or unmounted
// is an error, never ErrNotExist. Not promised: retention; and a reader that
// sees an object before its Put has returned may lose it again if the machine
// crashes at that moment.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	"holdfast/internal/objstore"
)

const tmpDir = "+tmp"

// Store is an objstore.Store in a directory.
type Store struct {
	fs       FS
	location string

	mu      sync.Mutex
	durable map[string]struct{} // directories known to be durable
}

var _ objstore.Store = (*Store)(nil)

// Open opens the store in the directory dir; ErrNotExist if there is none.
func Open(ctx context.Context, dir string) (*Store, error) {
	fsys, err := OpenOS(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", objstore.ErrNotExist, err)
	}
	if err != nil {
		return nil, fmt.Errorf("local: open store: %w", classify(err))
	}
	s, err := New(ctx, fsys, dir)
	if err != nil {
		fsys.Close()
		return nil, err
	}
	return s, nil
}

// Create opens the store in the directory dir and makes the directory, durably,
// if it isn't there.
func Create(ctx context.Context, dir string) (*Store, error) {
	if err := MkdirOS(dir); err != nil {
		return nil, fmt.Errorf("local: create store: %w", classify(err))
	}
	return Open(ctx, dir)
}

// New opens the store in fsys; location is what String returns. What dead
// processes left is cleaned up.
func New(ctx context.Context, fsys FS, location string) (*Store, error) {
	s := &Store{fs: fsys, location: location, durable: map[string]struct{}{}}
	if err := s.recover(ctx); err != nil {
		return nil, fmt.Errorf("local: open store %s: %w", location, classify(err))
	}
	return s, nil
}

// Close releases the directory. The store must not be used after.
func (s *Store) Close() error { return s.fs.Close() }

func (s *Store) Get(ctx context.Context, name string, off, length int64) (io.ReadCloser, error) {
	if err := begin(ctx, name); err != nil {
		return nil, s.fail("get", name, err)
	}
	f, err := s.fs.Open(name)
	if err != nil {
		return nil, s.fail("get", name, s.absent(err))
	}
	r, err := newReader(ctx, f, off, length)
	if err != nil {
		f.Close()
		return nil, s.fail("get", name, err)
	}
	return r, nil
}

func (s *Store) Stat(ctx context.Context, name string) (objstore.Info, error) {
	if err := begin(ctx, name); err != nil {
		return objstore.Info{}, s.fail("stat", name, err)
	}
	info, err := s.fs.Stat(name)
	switch {
	case err != nil:
		return objstore.Info{}, s.fail("stat", name, s.absent(err))
	case !info.Mode().IsRegular():
		return objstore.Info{}, s.fail("stat", name, objstore.ErrNotExist)
	}
	return objstore.Info{Name: name, Size: info.Size()}, nil
}

// Delete syncs the directory also when the object is gone already: another
// process may have removed it a moment ago.
func (s *Store) Delete(ctx context.Context, name string) error {
	_, err := s.Stat(ctx, name)
	if err != nil && !errors.Is(err, objstore.ErrNotExist) {
		return err
	}
	if err == nil {
		if err = s.fs.Remove(name); err != nil {
			err = s.fail("delete", name, s.absent(err))
		}
		if err != nil && !errors.Is(err, objstore.ErrNotExist) {
			return err
		}
	}
	if serr := s.fs.SyncDir(path.Dir(name)); serr != nil && !notThere(serr) {
		return s.fail("delete", name, serr)
	}
	return err
}

// RemoveEmptyDirs removes dir and the directories below it, as far as they hold
// nothing. No other process may put objects below dir meanwhile: it could take a
// directory that comes and goes for durable. That's why Delete leaves them.
func (s *Store) RemoveEmptyDirs(ctx context.Context, dir string) error {
	if err := begin(ctx, dir); err != nil {
		return s.fail("remove empty directories of", dir, err)
	}
	entries, err := s.fs.ReadDir(dir)
	if err != nil {
		return s.fail("remove empty directories of", dir, s.absent(err))
	}
	for _, e := range entries {
		if below := dir + "/" + e.Name(); e.IsDir() && objstore.ValidName(below) == nil {
			if err := s.RemoveEmptyDirs(ctx, below); err != nil {
				return err
			}
		}
	}
	s.mu.Lock()
	delete(s.durable, dir)
	s.mu.Unlock()
	if err := s.fs.Remove(dir); err != nil && !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, fs.ErrExist) {
		return s.fail("remove empty directories of", dir, err)
	}
	return nil
}

// Retain fails: a file can't be locked against its owner.
func (s *Store) Retain(ctx context.Context, name string, until time.Time) error {
	return s.fail("retain", name, errNoRetention)
}

func (s *Store) Features() objstore.Features { return objstore.Features{} }

func (s *Store) String() string { return s.location }

var errNoRetention = fmt.Errorf("%w: a directory has no retention", objstore.ErrInvalid)

func begin(ctx context.Context, name string) error {
	if err := objstore.ValidName(name); err != nil {
		return err
	}
	return ctx.Err()
}

func (s *Store) fail(verb, name string, err error) error {
	return fmt.Errorf("local: %s %q in %s: %w", verb, name, s.location, classify(err))
}

// absent turns "no such file" into ErrNotExist, if the store itself is there.
func (s *Store) absent(err error) error {
	if !notThere(err) {
		return err
	}
	if gone := s.fs.Alive(); gone != nil {
		return fmt.Errorf("the store's directory is gone: %w", stripNotExist(gone))
	}
	return fmt.Errorf("%w: %w", objstore.ErrNotExist, err)
}

// notThere says whether err means that a path leads to nothing: a segment is
// missing or is a file.
func notThere(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// stripNotExist keeps the text and drops the kind.
func stripNotExist(err error) error { return errors.New(err.Error()) }

// classify adds the contract's error to what the file system said.
func classify(err error) error {
	for _, c := range kinds {
		if errors.Is(err, c.cause) && !errors.Is(err, c.kind) {
			return fmt.Errorf("%w: %w", c.kind, err)
		}
	}
	return err
}

var kinds = []struct {
	cause syscall.Errno
	kind  error
}{
	{syscall.ENOSPC, objstore.ErrFull},
	{syscall.EDQUOT, objstore.ErrFull},
	{syscall.EACCES, objstore.ErrPermission},
	{syscall.EPERM, objstore.ErrPermission},
	{syscall.EROFS, objstore.ErrPermission},
	{syscall.ENAMETOOLONG, objstore.ErrInvalid},
}

func newReader(ctx context.Context, f File, off, length int64) (io.ReadCloser, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, objstore.ErrNotExist
	}
	n, err := objstore.CheckRange(info.Size(), off, length)
	if err != nil {
		return nil, err
	}
	return objstore.NewReader(ctx, section{io.NewSectionReader(f, off, n), f}, n), nil
}

// section is a range of an open file.
type section struct {
	io.Reader
	io.Closer
}

// underDir says whether the names below dir can start with prefix.
func underDir(dir, prefix string) bool {
	return strings.HasPrefix(dir+"/", prefix) || strings.HasPrefix(prefix, dir+"/")
}
