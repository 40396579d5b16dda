package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"holdfast"
)

// staging is where one restore makes its files: a directory of its own in the
// place they go to. Whatever is in it is the restore's. A file that is whole is
// published: it gets its second name, the one its user wants, by a hard link,
// which never overwrites. So the file system itself says at any moment what
// the restore has made, a crash included: the published names that are the same
// files as those in the directory.
type staging struct {
	dir     string // where the files go
	private string
}

func stagingIn(dir, restoreID string) staging {
	return staging{dir: dir, private: filepath.Join(dir, ".holdfast-restore-"+restoreID)}
}

// begin makes the directory for files of these names. A name that is taken is a
// Conflict, and nothing changes.
func (s staging) begin(names []string) error {
	for _, n := range names {
		if err := s.free(n); err != nil {
			return err
		}
	}
	if err := os.Mkdir(s.private, 0o700); err != nil {
		return err
	}
	if err := s.linkable(); err != nil {
		return errors.Join(err, s.remove())
	}
	return syncDir(s.dir)
}

// linkable finds out before the work whether files can have two names there.
func (s staging) linkable() error {
	one, two := s.path("one"), s.path("two")
	if err := writeFile(one, nil); err != nil {
		return err
	}
	if err := os.Link(one, two); err != nil {
		return holdfast.Errorf(holdfast.Unsupported, "directory", "The file system of %s has no hard links.", s.dir).
			WithHint("Restore to a directory on ext4, XFS, Btrfs, NFS or the like.").WithCause(err)
	}
	return errors.Join(os.Remove(one), os.Remove(two))
}

// free says whether nothing has that name yet.
func (s staging) free(name string) error {
	_, err := os.Lstat(s.final(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return holdfast.Errorf(holdfast.Conflict, s.final(name), "The file %s exists already.", s.final(name)).
		WithHint("Choose another name prefix or place; nothing was overwritten.")
}

// path is where a file of that name is made, final where its user finds it.
func (s staging) path(name string) string  { return filepath.Join(s.private, name) }
func (s staging) final(name string) string { return filepath.Join(s.dir, name) }

// publish gives a whole file its name.
func (s staging) publish(name string) error {
	if err := os.Link(s.path(name), s.final(name)); err != nil {
		if taken := s.free(name); taken != nil {
			return taken // somebody made it meanwhile
		}
		return err
	}
	return syncDir(s.dir)
}

// keep ends the restore: what is published stays, and is the restore's no more.
func (s staging) keep() error {
	if err := os.RemoveAll(s.private); err != nil {
		return fmt.Errorf("left behind: %w", err)
	}
	return syncDir(s.dir)
}

// remove takes back all that the restore has made; where it has made nothing it
// does nothing. Others' files are not touched, whatever their names.
func (s staging) remove() error {
	made, err := s.published()
	if err != nil {
		return err
	}
	for _, p := range made {
		if err := os.Remove(p); err != nil {
			return fmt.Errorf("left behind: %w", err)
		}
	}
	if _, err := os.Lstat(s.private); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return s.keep()
}

// published are the paths of the files that this restore has given their names.
func (s staging) published() ([]string, error) {
	entries, err := os.ReadDir(s.private)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		mine, err := os.Lstat(s.path(e.Name()))
		if err != nil {
			return nil, err
		}
		theirs, err := os.Lstat(s.final(e.Name()))
		if err == nil && os.SameFile(mine, theirs) {
			paths = append(paths, s.final(e.Name()))
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return paths, nil
}

// writeFile makes a new file, durable when it returns, readable by its owner
// only. It fails with fs.ErrExist rather than overwrite.
func writeFile(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
