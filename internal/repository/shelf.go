package repository

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"holdfast/internal/objstore"
	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/index"
	"holdfast/internal/repository/ledger"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"
	"holdfast/internal/repository/tree"
)

// shelfInMemory is how long an index segment may be to be kept in memory as it
// is, and shelfMemory how much all of those may take together, in bytes.
const (
	shelfInMemory = 4 << 20
	shelfMemory   = 48 << 20
)

// shelf holds the open index segments: small ones in memory, others as files
// in the cache directory, sealed as they are in the store.
type shelf struct {
	store objstore.Store
	keys  *seal.Keys
	cache string

	mu   sync.Mutex
	dir  string // temporary, when there is no cache
	held int64
	open map[index.ID]shelved
}

// shelved is an open segment: a file, or in memory.
type shelved struct {
	reader *index.Reader
	size   int64 // in memory
	file   *os.File
}

func newShelf(store objstore.Store, keys *seal.Keys, cache string) *shelf {
	return &shelf{store: store, keys: keys, cache: cache, open: map[index.ID]shelved{}}
}

func (s *shelf) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, x := range s.open {
		if x.file != nil {
			errs = append(errs, x.file.Close())
		}
	}
	s.open = map[index.ID]shelved{}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
		s.dir = ""
	}
	return errors.Join(errs...)
}

// get opens a segment, from the cache if it is there.
func (s *shelf) get(ctx context.Context, id index.ID) (*index.Reader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x, ok := s.open[id]; ok {
		return x.reader, nil
	}
	info, err := s.store.Stat(ctx, id.Object())
	if err != nil {
		return nil, fmt.Errorf("index segment %s: %w", id, err)
	}
	var x shelved
	var at io.ReaderAt
	if info.Size <= shelfInMemory && s.held+info.Size <= shelfMemory {
		b, err := ledger.Fetch(ctx, s.store, id.Object())
		if err != nil {
			return nil, err
		}
		x.size, at = info.Size, bytes.NewReader(b)
	} else {
		if x.file, err = s.file(ctx, id, info.Size); err != nil {
			return nil, err
		}
		at = x.file
	}
	if x.reader, err = index.Open(s.keys, id, at, info.Size); err != nil {
		if x.file != nil {
			_ = x.file.Close()
		}
		return nil, err
	}
	s.open[id], s.held = x, s.held+x.size
	return x.reader, nil
}

// file brings a segment into the cache. A cached file is trusted as little as
// the store: every piece read from it is opened under its seal.
func (s *shelf) file(ctx context.Context, id index.ID, size int64) (*os.File, error) {
	dir := s.cache
	if dir == "" {
		if s.dir == "" {
			d, err := os.MkdirTemp("", "holdfast-index-")
			if err != nil {
				return nil, err
			}
			s.dir = d
		}
		dir = s.dir
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, id.String())
	if st, err := os.Stat(path); err == nil && st.Size() == size {
		if f, err := os.Open(path); err == nil {
			if index.Check(id, f, size) == nil {
				return f, nil
			}
			_ = f.Close()
		}
	}
	tmp, err := os.CreateTemp(dir, "fetch-")
	if err != nil {
		return nil, err
	}
	rc, err := s.store.Get(ctx, id.Object(), 0, -1)
	if err == nil {
		_, err = io.Copy(tmp, rc)
		_ = rc.Close()
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = tmp.Close()
		_ = os.Remove(tmp.Name())
		return nil, fmt.Errorf("fetch index segment %s: %w", id, err)
	}
	return tmp, nil
}

// add puts a segment that was just built on the shelf without fetching it.
func (s *shelf) add(id index.ID, raw []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int64(len(raw)) > shelfInMemory || s.held+int64(len(raw)) > shelfMemory {
		return
	}
	if r, err := index.Open(s.keys, id, bytes.NewReader(raw), int64(len(raw))); err == nil {
		s.open[id] = shelved{reader: r, size: int64(len(raw))}
		s.held += int64(len(raw))
	}
}

// drop forgets segments that are in no state any more. Views that began before
// may still read them: a file is removed now and closed when the last of them is
// gone, for the runtime closes files that nobody refers to.
func (s *shelf) drop(ids []index.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		x := s.open[id]
		if x.file != nil {
			_ = os.Remove(filepath.Join(cmp.Or(s.cache, s.dir), id.String()))
		}
		s.held -= x.size
		delete(s.open, id)
	}
}

// view finds content as of one state of the ledger.
type view struct {
	state    *ledger.State
	segments []*index.Reader
	// hurt are the segments that are damaged or gone; what they knew is
	// unknown until the index is rebuilt.
	hurt map[index.ID]error
}

// viewNow opens all segments of a state, or of a newer one if segments of it
// have gone meanwhile.
func (r *Repository) viewNow(ctx context.Context, state *ledger.State) (*view, error) {
	for {
		v, err := r.shelf.view(ctx, state)
		if err != nil || len(v.hurt) == 0 {
			return v, err
		}
		newer, err := r.log.Read(ctx)
		if err != nil || newer.Seq == state.Seq {
			return v, err
		}
		state = newer
	}
}

// view opens all segments of a state.
func (s *shelf) view(ctx context.Context, state *ledger.State) (*view, error) {
	v := &view{state: state, hurt: map[index.ID]error{}}
	for _, id := range state.Segments {
		r, err := s.get(ctx, id)
		if errors.Is(err, ErrDamaged) || errors.Is(err, objstore.ErrNotExist) {
			v.hurt[id] = err
			continue
		}
		if err != nil {
			return nil, err
		}
		v.segments = append(v.segments, r)
	}
	return v, nil
}

// find answers a usable place of id: not dead, not damaged, and not refused.
func (v *view) find(id chunk.ID, refused func(tree.Ref) bool) (tree.Ref, bool, error) {
	var ref tree.Ref
	for i := len(v.segments) - 1; i >= 0; i-- {
		ok, err := v.segments[i].Lookup(id, func(p pack.ID, ordinal uint32) bool {
			ref = tree.Ref{ID: id, Pack: p, Ordinal: ordinal}
			return !v.state.IsDead(p) && !v.state.IsDamaged(p, ordinal) && (refused == nil || !refused(ref))
		})
		if errors.Is(err, ErrDamaged) {
			continue // as if the segment didn't know; Check reports it
		}
		if err != nil || ok {
			return ref, ok, err
		}
	}
	return tree.Ref{}, false, nil
}
