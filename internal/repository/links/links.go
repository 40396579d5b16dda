// Package links keeps, beside the server, where the children of stored nodes lie,
// so that a collection reads a node from the store once only.
//
// A [Section] is what is known of the nodes of one pack, a [File] the sections of
// a repository. All of it is derived and may be lost. It promises to answer only
// what was put in, or nothing: damage, another key or another repository are as
// if nothing were known. Whether a place still serves is the caller's to judge.
// The layout is in docs/design/repository-format.md ("Links").
package links

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/tree"
)

// Run is count blobs of a pack from ordinal first on.
type Run struct {
	Pack         uint32 // index in the section's Packs
	First, Count uint32
}

// Node is where the children of one node lie.
type Node struct {
	Level uint8 // of the node
	Runs  []Run
}

// Section is what is known of the nodes of one pack.
type Section struct {
	Packs  []pack.ID
	Nodes  map[uint32]Node // by ordinal
	number map[pack.ID]uint32
}

// NewSection knows nothing.
func NewSection() *Section {
	return &Section{Nodes: map[uint32]Node{}, number: map[pack.ID]uint32{}}
}

// Set notes that the children of the node at ordinal lie at these places.
func (s *Section) Set(ordinal uint32, level uint8, places []tree.Ref) {
	type place struct {
		pack    uint32
		ordinal uint32
	}
	var all []place
	for _, p := range places {
		n, ok := s.number[p.Pack]
		if !ok {
			n = uint32(len(s.Packs))
			s.Packs, s.number[p.Pack] = append(s.Packs, p.Pack), n
		}
		all = append(all, place{n, p.Ordinal})
	}
	slices.SortFunc(all, func(a, b place) int {
		if a.pack != b.pack {
			return int(a.pack) - int(b.pack)
		}
		return int(a.ordinal) - int(b.ordinal)
	})
	var runs []Run
	for _, p := range slices.Compact(all) {
		if n := len(runs); n > 0 && runs[n-1].Pack == p.pack && runs[n-1].First+runs[n-1].Count == p.ordinal {
			runs[n-1].Count++
			continue
		}
		runs = append(runs, Run{p.pack, p.ordinal, 1})
	}
	s.Nodes[ordinal] = Node{level, runs}
}

// add takes over what o knows; o's word counts.
func (s *Section) add(o *Section) {
	for ordinal, n := range o.Nodes {
		var places []tree.Ref
		for _, r := range n.Runs {
			for i := range r.Count {
				places = append(places, tree.Ref{Pack: o.Packs[r.Pack], Ordinal: r.First + i})
			}
		}
		s.Set(ordinal, n.Level, places)
	}
}

// cost is about what the section takes in memory, in bytes.
func (s *Section) cost() int64 {
	n := 200 + int64(len(s.Packs))*48
	for _, x := range s.Nodes {
		n += 64 + 12*int64(len(x.Runs))
	}
	return n
}

// Encode is the stored form of s.
func (s *Section) Encode() []byte {
	b := binary.AppendUvarint(nil, uint64(len(s.Packs)))
	for _, p := range s.Packs {
		b = append(b, p[:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(s.Nodes)))
	for _, o := range slices.Sorted(maps.Keys(s.Nodes)) {
		n := s.Nodes[o]
		b = binary.AppendUvarint(b, uint64(o))
		b = binary.AppendUvarint(b, uint64(n.Level))
		b = binary.AppendUvarint(b, uint64(len(n.Runs)))
		for _, r := range n.Runs {
			b = binary.AppendUvarint(b, uint64(r.Pack))
			b = binary.AppendUvarint(b, uint64(r.First))
			b = binary.AppendUvarint(b, uint64(r.Count))
		}
	}
	return b
}

var errMalformed = errors.New("malformed links")

// Decode reads what Encode wrote.
func Decode(b []byte) (*Section, error) {
	s := NewSection()
	d := decoder{b: b}
	for range d.number(uint64(len(b) / len(pack.ID{}))) {
		var id pack.ID
		if d.bad = d.bad || len(d.b) < len(id); d.bad {
			return nil, errMalformed
		}
		d.b = d.b[copy(id[:], d.b):]
		s.number[id] = uint32(len(s.Packs))
		s.Packs = append(s.Packs, id)
	}
	last := int64(-1)
	for range d.number(uint64(len(b))) {
		o := d.number(1<<24 - 1)
		n := Node{Level: uint8(d.number(tree.MaxLevel))}
		sum := uint64(0)
		for range d.number(tree.Fanout) {
			r := Run{uint32(d.number(uint64(len(s.Packs)))), uint32(d.number(1<<24 - 1)), uint32(d.number(tree.Fanout))}
			d.bad = d.bad || int(r.Pack) >= len(s.Packs) || r.Count == 0 || uint64(r.First)+uint64(r.Count) > 1<<24
			if sum += uint64(r.Count); d.bad {
				return nil, errMalformed
			}
			n.Runs = append(n.Runs, r)
		}
		if d.bad || n.Level == 0 || len(n.Runs) == 0 || sum > tree.Fanout || int64(o) <= last {
			return nil, errMalformed
		}
		last = int64(o)
		s.Nodes[uint32(o)] = n
	}
	if d.bad || len(d.b) > 0 || len(s.number) != len(s.Packs) {
		return nil, errMalformed
	}
	return s, nil
}

type decoder struct {
	b   []byte
	bad bool
}

// number reads one that is at most most; 0 if there is none.
func (d *decoder) number(most uint64) uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > most {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}
