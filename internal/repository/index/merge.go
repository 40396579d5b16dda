package index

import (
	"fmt"
	"io"
	"iter"

	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"
)

// Merge writes one segment of several, without the entries of packs that keep
// refuses. It streams: memory is that of one open segment. It answers the
// number of entries; for 0 nothing is written.
func Merge(w io.Writer, keys *seal.Keys, id ID, from []*Reader, keep func(pack.ID) bool) (uint64, error) {
	packs, kept := packsOf(from, keep)
	var n uint64
	for _, err := range merged(from, kept) {
		if err != nil {
			return 0, err
		}
		n++
	}
	if n == 0 {
		return 0, nil
	}
	b, err := NewBuilder(w, keys, id, n, packs)
	if err != nil {
		return 0, err
	}
	for e, err := range merged(from, kept) {
		if err == nil {
			err = b.Add(e)
		}
		if err != nil {
			return 0, err
		}
	}
	return n, b.Finish()
}

// Prove reads the merged segment m back and compares it, entry by entry, with
// what it was made of.
func Prove(m *Reader, from []*Reader, keep func(pack.ID) bool) error {
	_, kept := packsOf(from, keep)
	want, stop := iter.Pull2(merged(from, kept))
	defer stop()
	for e, err := range m.Entries() {
		if err != nil {
			return err
		}
		w, err, more := want()
		if err != nil {
			return err
		}
		if !more || w != e {
			return fmt.Errorf("index segment %s does not read back as merged (bad memory?)", m.ID())
		}
	}
	_, err, more := want()
	if more && err == nil {
		err = fmt.Errorf("index segment %s lost entries (bad memory?)", m.ID())
	}
	return err
}

// packsOf is the pack table of a merge, and which packs are in it.
func packsOf(from []*Reader, keep func(pack.ID) bool) (packs []PackInfo, kept map[pack.ID]bool) {
	kept = map[pack.ID]bool{}
	for _, r := range from {
		for _, p := range r.Packs() {
			if !kept[p.ID] && keep(p.ID) {
				kept[p.ID] = true
				packs = append(packs, p)
			}
		}
	}
	return packs, kept
}

// head is the next entry of one segment of a merge.
type head struct {
	e    Entry
	err  error
	next func() (Entry, error, bool)
}

// merged yields the entries of all segments in order, each once, of the packs
// in keep.
func merged(from []*Reader, keep map[pack.ID]bool) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		var heads []*head
		for _, r := range from {
			next, stop := iter.Pull2(r.Entries())
			defer stop()
			h := &head{next: next}
			if h.advance() {
				heads = append(heads, h)
			}
		}
		var last Entry
		for first := true; len(heads) > 0; {
			least := 0
			for i := range heads {
				if heads[i].err == nil && Compare(heads[i].e, heads[least].e) < 0 {
					least = i
				}
			}
			h := heads[least]
			if h.err != nil {
				yield(Entry{}, h.err)
				return
			}
			if keep[h.e.Pack] && (first || h.e != last) {
				if !yield(h.e, nil) {
					return
				}
				first, last = false, h.e
			}
			if !h.advance() {
				heads = append(heads[:least], heads[least+1:]...)
			}
		}
	}
}

func (h *head) advance() (ok bool) {
	h.e, h.err, ok = h.next()
	return ok
}
