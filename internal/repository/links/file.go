package links

import (
	"bytes"
	"container/list"
	"errors"
	"io"
	"os"
	"path/filepath"

	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"
	"holdfast/internal/repository/tree"

	"golang.org/x/sys/unix"
)

// The bounds of what is kept in memory, in bytes: of sections read, and of
// sections not yet written.
const (
	keptMax  = 24 << 20
	freshMax = 4 << 20
)

// File is the links of one repository. Its methods may be called on nil, which
// knows nothing and keeps nothing. It is not safe for concurrent use.
type File struct {
	f    *os.File
	keys *seal.Keys
	size int64
	at   map[pack.ID][]span

	fresh     map[pack.ID]*Section
	freshCost int64

	kept  map[pack.ID]*list.Element
	order *list.List // of *keptSection, newest first
	cost  int64
}

// span is where a section's box is in the file, behind its pack id.
type span struct{ off, length int64 }

type keptSection struct {
	id pack.ID
	s  *Section
	n  int64 // its cost
}

// Open opens or makes the file at path. It answers nil, which is as good as an
// empty File, when another process has it or it cannot be had.
func Open(path string, keys *seal.Keys) *File {
	if os.MkdirAll(filepath.Dir(path), 0o700) != nil {
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil
	}
	l := &File{f: f, keys: keys, at: map[pack.ID][]span{}, fresh: map[pack.ID]*Section{}, kept: map[pack.ID]*list.Element{}, order: list.New()}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil || l.scan() != nil {
		_ = f.Close()
		return nil
	}
	return l
}

// scan finds the sections, and cuts off what is none.
func (l *File) scan() error {
	st, err := l.f.Stat()
	if err != nil {
		return err
	}
	head := make([]byte, len(pack.ID{})+seal.BoxHeaderSize)
	for l.size < st.Size() {
		if _, err := l.f.ReadAt(head, l.size); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		n, ok := seal.BoxSize(seal.Links, head[len(pack.ID{}):])
		at := l.size + int64(len(pack.ID{}))
		if !ok || at+n > st.Size() {
			return l.f.Truncate(l.size)
		}
		id := pack.ID(head)
		l.at[id] = append(l.at[id], span{at, n})
		l.size = at + n
	}
	return nil
}

func object(id pack.ID) string { return "links/" + id.String() }

// Node answers where the children of the node at ref lie, in packs by number; of
// level 0 if that is not known.
func (l *File) Node(ref tree.Ref) (Node, []pack.ID) {
	if l == nil {
		return Node{}, nil
	}
	if s := l.fresh[ref.Pack]; s != nil {
		if n, ok := s.Nodes[ref.Ordinal]; ok {
			return n, s.Packs
		}
	}
	s := l.section(ref.Pack)
	return s.Nodes[ref.Ordinal], s.Packs
}

// section is what the file knows of the nodes of a pack.
func (l *File) section(id pack.ID) *Section {
	if e, ok := l.kept[id]; ok {
		l.order.MoveToFront(e)
		return e.Value.(*keptSection).s
	}
	all := NewSection()
	for _, at := range l.at[id] {
		s, err := l.load(id, at)
		switch {
		case err != nil: // what it knew has to be read again
		case len(all.Nodes) == 0:
			all = s
		default:
			all.add(s)
		}
	}
	l.keep(id, all)
	return all
}

func (l *File) load(id pack.ID, at span) (*Section, error) {
	raw := make([]byte, at.length)
	if _, err := l.f.ReadAt(raw, at.off); err != nil {
		return nil, err
	}
	content, err := l.keys.OpenBox(seal.Links, object(id), raw)
	if err != nil {
		return nil, err
	}
	return Decode(content)
}

func (l *File) keep(id pack.ID, s *Section) {
	k := &keptSection{id, s, s.cost()}
	l.kept[id] = l.order.PushFront(k)
	for l.cost += k.n; l.cost > keptMax && l.order.Len() > 1; {
		l.forget(l.order.Back())
	}
}

func (l *File) forget(e *list.Element) {
	k := l.order.Remove(e).(*keptSection)
	delete(l.kept, k.id)
	l.cost -= k.n
}

// Set notes where the children of the node at ref, which has this level, lie. A
// node without children is not noted.
func (l *File) Set(ref tree.Ref, level uint8, places []tree.Ref) {
	if l == nil || len(places) == 0 {
		return
	}
	s := l.fresh[ref.Pack]
	if s == nil {
		s = NewSection()
		l.fresh[ref.Pack] = s
	}
	s.Set(ref.Ordinal, level, places)
	if l.freshCost += 64 + 16*int64(len(places)); l.freshCost > freshMax {
		l.flush()
	}
}

// flush appends what is new. What cannot be written is forgotten.
func (l *File) flush() {
	for id, s := range l.fresh {
		l.write(id, s)
	}
	l.fresh, l.freshCost = map[pack.ID]*Section{}, 0
}

// write appends one section, proved to decode to what it was made of.
func (l *File) write(id pack.ID, s *Section) {
	content := s.Encode()
	back, err := Decode(content)
	if err != nil || !bytes.Equal(back.Encode(), content) {
		return
	}
	box, err := l.keys.Box(seal.Links, object(id), content)
	if err != nil {
		return
	}
	if _, err := l.f.WriteAt(append(id[:], box...), l.size); err != nil {
		_ = l.f.Truncate(l.size)
		return
	}
	at := l.size + int64(len(id))
	l.at[id] = append(l.at[id], span{at, int64(len(box))})
	l.size = at + int64(len(box))
	if e, ok := l.kept[id]; ok {
		l.forget(e)
	}
}

// Close writes what is new, and the whole file anew if more than half of it is of
// packs that live refuses. Nothing is synced: what a power loss breaks is told by
// its seal.
func (l *File) Close(live func(pack.ID) bool) error {
	if l == nil {
		return nil
	}
	l.flush()
	var need int64
	for id, spans := range l.at {
		if !live(id) {
			continue
		}
		for _, at := range spans {
			need += int64(len(id)) + at.length
		}
	}
	var err error
	if l.size > 2*need+64<<10 {
		err = l.rewrite(live)
	}
	return errors.Join(err, l.f.Close())
}

// rewrite puts a file of the sections of live packs in the place of this one.
func (l *File) rewrite(live func(pack.ID) bool) error {
	tmp, err := os.CreateTemp(filepath.Dir(l.f.Name()), "links-")
	if err != nil {
		return err
	}
	for id, spans := range l.at {
		for _, at := range spans {
			if err == nil && live(id) {
				_, err = io.Copy(tmp, io.NewSectionReader(l.f, at.off-int64(len(id)), at.length+int64(len(id))))
			}
		}
	}
	if err == nil {
		err = os.Rename(tmp.Name(), l.f.Name())
	} else {
		_ = os.Remove(tmp.Name())
	}
	return errors.Join(err, tmp.Close())
}
