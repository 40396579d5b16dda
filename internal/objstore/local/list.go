package local

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"holdfast/internal/objstore"
)

// List walks the directories that can hold such names, in order, reading one
// directory at a time.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		err := objstore.ValidPrefix(prefix)
		if err == nil {
			l := lister{ctx: ctx, s: s, prefix: prefix, after: after, yield: yield}
			dir := ""
			if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
				dir = prefix[:i]
			}
			err = l.dir(dir)
		}
		if err != nil && err != errStopped {
			yield(objstore.Info{}, s.fail("list", prefix, err))
		}
	}
}

var errStopped = errors.New("the caller has seen enough")

type lister struct {
	ctx           context.Context
	s             *Store
	prefix, after string
	yield         func(objstore.Info, error) bool
}

// dir lists the objects below dir, "" being the store's directory.
func (l *lister) dir(dir string) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	entries, err := l.s.fs.ReadDir(cmp.Or(dir, "."))
	if notThere(err) {
		if err := l.s.absent(err); !errors.Is(err, objstore.ErrNotExist) {
			return err
		}
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range ordered(entries) {
		name := e.Name()
		if dir != "" {
			name = dir + "/" + name
		}
		if objstore.ValidName(name) != nil {
			continue
		}
		if err := l.entry(name, e); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) entry(name string, e fs.DirEntry) error {
	if e.IsDir() {
		// All names below begin with name+"/": skip them if that is known to
		// sort before after, or not to fit the prefix.
		below := name + "/"
		if !underDir(name, l.prefix) || below < l.after && !strings.HasPrefix(l.after, below) {
			return nil
		}
		return l.dir(name)
	}
	if !e.Type().IsRegular() || !strings.HasPrefix(name, l.prefix) || name <= l.after {
		return nil
	}
	info, err := l.s.fs.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // deleted meanwhile
	case err != nil:
		return err
	}
	if !l.yield(objstore.Info{Name: name, Size: info.Size()}, nil) {
		return errStopped
	}
	return nil
}

// ordered sorts entries so that a walk yields whole names in byte order: a
// directory sorts as its name with the '/' that follows in each.
func ordered(entries []fs.DirEntry) []fs.DirEntry {
	key := func(e fs.DirEntry) string {
		if e.IsDir() {
			return e.Name() + "/"
		}
		return e.Name()
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(key(a), key(b)) })
	return entries
}
