package local

import (
	"io"
	"io/fs"
)

// FS is what Store asks of a file system: the real one (OpenOS), or one that
// can be crashed at each of these steps (package crash). Paths are relative to
// the store's directory and slash-separated; "." is the directory itself.
//
// Errors wrap fs.ErrNotExist, fs.ErrExist, fs.ErrPermission and the syscall
// errnos as package os does.
type FS interface {
	// Create makes a new file, mode 0600, fails with fs.ErrExist if there is
	// one, and marks it as in use for as long as the File is open.
	Create(path string) (File, error)
	// Reap removes a file made by Create that no living process has open, and
	// says whether it did. When it can't know it leaves the file.
	Reap(path string) (bool, error)
	Open(path string) (File, error)
	// Link gives the file a second name; it fails with fs.ErrExist rather than
	// replace anything.
	Link(from, to string) error
	Remove(path string) error
	// Mkdir makes one directory, mode 0700.
	Mkdir(path string) error
	// SyncDir makes the directory's entries durable.
	SyncDir(path string) error
	Stat(path string) (fs.FileInfo, error)
	// ReadDir returns the entries in no particular order.
	ReadDir(path string) ([]fs.DirEntry, error)
	// Alive fails when the directory itself is gone, so that nothing in it can
	// be said to be absent.
	Alive() error
	// Room is how many bytes are free to the caller, and how many there are.
	Room() (free, total int64, err error)
	Close() error
}

// File is an open file of an FS.
type File interface {
	io.Writer
	io.ReaderAt
	io.Closer
	Stat() (fs.FileInfo, error)
	// Sync makes the content durable, not the name.
	Sync() error
}
