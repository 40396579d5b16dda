package crash

import (
	"io"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"time"

	"holdfast/internal/objstore/local"
)

// FS returns the disk's directory tree as the local store wants it.
func (d *Disk) FS() local.FS { return mount{d} }

type mount struct{ d *Disk }

func (m mount) Alive() error { return nil }

// Room says that the disk doesn't know.
func (m mount) Room() (free, total int64, err error) { return 0, 0, nil }
func (m mount) Close() error                         { return nil }

// find returns the node at p, and fails as open(2) does. mu is held.
func (d *Disk) find(op, p string) (*node, error) {
	if d.crashed {
		return nil, ErrCrashed
	}
	n := d.root
	if p == "." {
		return n, nil
	}
	for seg := range strings.SplitSeq(p, "/") {
		if !n.dir {
			return nil, &fs.PathError{Op: op, Path: p, Err: syscall.ENOTDIR}
		}
		if n = n.entries[seg]; n == nil {
			return nil, &fs.PathError{Op: op, Path: p, Err: syscall.ENOENT}
		}
	}
	return n, nil
}

// vacant returns the directory in which p can be made. mu is held.
func (d *Disk) vacant(op, p string) (*node, error) {
	dir, err := d.find(op, path.Dir(p))
	if err != nil {
		return nil, err
	}
	if !dir.dir {
		return nil, &fs.PathError{Op: op, Path: p, Err: syscall.ENOTDIR}
	}
	if dir.entries[path.Base(p)] != nil {
		return nil, &fs.PathError{Op: op, Path: p, Err: syscall.EEXIST}
	}
	return dir, nil
}

func (dir *node) set(name string, n *node) {
	dir.pending = append(dir.pending, change{name, n, dir.entries[name]})
	if n == nil {
		delete(dir.entries, name)
		return
	}
	dir.entries[name] = n
}

func (m mount) Create(p string) (local.File, error) {
	if err := m.d.step("create", p); err != nil {
		return nil, err
	}
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	dir, err := m.d.vacant("create", p)
	if err != nil {
		return nil, err
	}
	n := &node{inUse: true}
	dir.set(path.Base(p), n)
	return &file{d: m.d, n: n, path: p, writer: true}, nil
}

func (m mount) Reap(p string) (bool, error) {
	m.d.mu.Lock()
	n, err := m.d.find("reap", p)
	inUse := err == nil && n.inUse
	m.d.mu.Unlock()
	if err != nil || inUse {
		return false, err
	}
	return true, m.Remove(p)
}

func (m mount) Open(p string) (local.File, error) {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	n, err := m.d.find("open", p)
	if err != nil {
		return nil, err
	}
	return &file{d: m.d, n: n, path: p}, nil
}

func (m mount) Link(from, to string) error {
	if err := m.d.step("link", to); err != nil {
		return err
	}
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	n, err := m.d.find("link", from)
	if err != nil {
		return err
	}
	dir, err := m.d.vacant("link", to)
	if err != nil {
		return err
	}
	dir.set(path.Base(to), n)
	return nil
}

func (m mount) Remove(p string) error {
	if err := m.d.step("remove", p); err != nil {
		return err
	}
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	n, err := m.d.find("remove", p)
	if err != nil {
		return err
	}
	if n.dir && len(n.entries) > 0 {
		return &fs.PathError{Op: "remove", Path: p, Err: syscall.ENOTEMPTY}
	}
	dir, err := m.d.find("remove", path.Dir(p))
	if err != nil {
		return err
	}
	dir.set(path.Base(p), nil)
	return nil
}

func (m mount) Mkdir(p string) error {
	if err := m.d.step("mkdir", p); err != nil {
		return err
	}
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	dir, err := m.d.vacant("mkdir", p)
	if err != nil {
		return err
	}
	dir.set(path.Base(p), newDir())
	return nil
}

func (m mount) SyncDir(p string) error {
	if err := m.d.step("syncdir", p); err != nil {
		return err
	}
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	n, err := m.d.find("syncdir", p)
	if err != nil {
		return err
	}
	n.pending = nil
	return nil
}

func (m mount) Stat(p string) (fs.FileInfo, error) {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	n, err := m.d.find("stat", p)
	if err != nil {
		return nil, err
	}
	return n.info(path.Base(p)), nil
}

func (m mount) ReadDir(p string) ([]fs.DirEntry, error) {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	n, err := m.d.find("readdir", p)
	if err != nil {
		return nil, err
	}
	if !n.dir {
		return nil, &fs.PathError{Op: "readdir", Path: p, Err: syscall.ENOTDIR}
	}
	var all []fs.DirEntry
	for name, child := range n.entries {
		all = append(all, fs.FileInfoToDirEntry(child.info(name)))
	}
	return all, nil
}

// file is an open file.
type file struct {
	d      *Disk
	n      *node
	path   string
	writer bool
}

func (f *file) Write(p []byte) (int, error) {
	err := f.d.step("write", f.path)
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err != nil {
		p = p[:len(p)/2] // what a failed write may leave
	}
	f.n.data = append(f.n.data, p...)
	return len(p), err
}

func (f *file) Sync() error {
	if err := f.d.step("sync", f.path); err != nil {
		return err
	}
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.n.synced = len(f.n.data)
	return nil
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.crashed {
		return 0, ErrCrashed
	}
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) Stat() (fs.FileInfo, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return f.n.info(path.Base(f.path)), nil
}

func (f *file) Close() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.writer {
		f.n.inUse = false
	}
	return nil
}

type info struct {
	name string
	size int64
	dir  bool
}

func (n *node) info(name string) fs.FileInfo { return info{name, int64(len(n.data)), n.dir} }

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) IsDir() bool        { return i.dir }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) Sys() any           { return nil }

func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}
