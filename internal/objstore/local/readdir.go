package local

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ReadDir takes the kinds of the entries from the directory itself: os.Root asks
// for the attributes of every one, which takes most of the time of a listing.
func (o osFS) ReadDir(path string) ([]fs.DirEntry, error) {
	f, err := o.root.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var entries []fs.DirEntry
	buf := make([]byte, 64<<10)
	for {
		n := 0
		var failed error
		if err := raw.Control(func(fd uintptr) {
			for n, failed = unix.Getdents(int(fd), buf); errors.Is(failed, unix.EINTR); {
				n, failed = unix.Getdents(int(fd), buf)
			}
		}); err != nil {
			return nil, err
		}
		if failed != nil {
			return nil, &fs.PathError{Op: "getdents", Path: path, Err: failed}
		}
		if n == 0 {
			return entries, nil
		}
		if entries, err = o.parse(path, buf[:n], entries); err != nil {
			return nil, err
		}
	}
}

// parse appends the entries in b, which are struct linux_dirent64 (getdents64(2)):
// inode 8 bytes, position 8, length of the record 2, kind 1, name to a zero.
func (o osFS) parse(path string, b []byte, entries []fs.DirEntry) ([]fs.DirEntry, error) {
	const nameAt = 19
	for len(b) > nameAt {
		size := int(binary.NativeEndian.Uint16(b[16:]))
		if size <= nameAt || size > len(b) {
			return nil, &fs.PathError{Op: "getdents", Path: path, Err: unix.EIO}
		}
		name, _, _ := bytes.Cut(b[nameAt:size], []byte{0})
		kind, inode := b[18], binary.NativeEndian.Uint64(b)
		b = b[size:]
		if inode == 0 || string(name) == "." || string(name) == ".." {
			continue
		}
		e := dirEntry{root: o.root, path: path + "/" + string(name), name: string(name)}
		switch kind {
		case unix.DT_REG:
		case unix.DT_DIR:
			e.mode = fs.ModeDir
		case unix.DT_UNKNOWN: // a file system that doesn't say
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			e.mode = info.Mode().Type()
		default:
			e.mode = fs.ModeIrregular
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// dirEntry is a name in a directory.
type dirEntry struct {
	root       *os.Root
	path, name string
	mode       fs.FileMode
}

func (e dirEntry) Name() string               { return e.name }
func (e dirEntry) IsDir() bool                { return e.mode.IsDir() }
func (e dirEntry) Type() fs.FileMode          { return e.mode }
func (e dirEntry) Info() (fs.FileInfo, error) { return e.root.Lstat(e.path) }
