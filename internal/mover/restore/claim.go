package restore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"holdfast"
)

// claimed is the set of files that one restore makes in one directory. While
// the restore runs a small record beside them names them, so that a run after
// a crash knows its own from others'.
type claimed struct {
	record string
	paths  []string
	made   []string // of paths, by this run
}

// claim reserves the paths for the restore. If an earlier run of the same
// restore died, what it made of them is removed first; otherwise a path that
// exists is a Conflict and nothing changes.
func claim(dir, restoreID string, paths []string) (*claimed, error) {
	c := &claimed{record: filepath.Join(dir, ".holdfast-restore-"+restoreID+".json"), paths: paths}
	ours, err := c.earlier()
	if err != nil {
		return nil, err
	}
	for _, p := range ours {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	for _, p := range paths {
		if _, err := os.Lstat(p); err == nil {
			return nil, holdfast.Errorf(holdfast.Conflict, p, "The file %s exists already.", p).
				WithHint("Choose another name prefix or place; nothing was overwritten.")
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if ours != nil {
		return c, nil
	}
	return c, writeFile(c.record, holdfast.Marshal(paths))
}

// earlier reads the record of a run that died: nil when there was none.
func (c *claimed) earlier() ([]string, error) {
	b, err := os.ReadFile(c.record)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var paths []string
	if err := json.Unmarshal(b, &paths); err != nil || !slices.Equal(paths, c.paths) {
		return nil, holdfast.Errorf(holdfast.Conflict, c.record, "The record %s is of another restore.", c.record).WithCause(err)
	}
	return paths, nil
}

// settle ends the restore: with keep the files stay, without those that this
// run made go (a file that someone else made meanwhile is not ours to remove).
// The record goes last.
func (c *claimed) settle(keep bool) error {
	var failed error
	if !keep {
		for _, p := range c.made {
			if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
				failed = errors.Join(failed, fmt.Errorf("left behind: %w", err))
			}
		}
	}
	if failed != nil {
		return failed
	}
	if err := os.Remove(c.record); err != nil {
		return fmt.Errorf("left behind: %w", err)
	}
	return nil
}

// writeFile makes a new file, durable when it returns, readable by its owner
// only. It fails with fs.ErrExist rather than overwrite.
func writeFile(path string, content []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(path)
		}
	}()
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
