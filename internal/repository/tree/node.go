// Package tree is the map of a disk: a Merkle tree of fixed fan-out over
// chunks. A [Node] has 64 children, each a [Ref] or zero; [Encode] and
// [Decode] are its stored form, [Shape] the arithmetic of levels and spans.
//
// It promises that equal content has equal ids wherever the blobs lie, that
// the encoding is canonical (what decodes, encodes to the same bytes), and
// that an all-zero range costs nothing. It reads and writes no store. The
// layout is in docs/design/repository-format.md.
package tree

import (
	"encoding/binary"

	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"
)

// Fanout is the number of children of a node in format 1.
const Fanout = 64

// MaxLevel bounds the height of a tree: 64^7 chunks are far beyond 2^63 bytes.
const MaxLevel = 8

const version = 1

// Ref names a chunk or node and says where it was stored. The id is the truth,
// the place a hint that is right as long as the pack exists. The zero Ref
// stands for content that is all zero.
type Ref struct {
	ID      chunk.ID `json:"id"`
	Pack    pack.ID  `json:"pack"`
	Ordinal uint32   `json:"ordinal"`
}

// IsZero reports whether the content is all zero.
func (r Ref) IsZero() bool { return r.ID == chunk.ID{} }

// Node is one node in memory.
type Node struct {
	Level uint8 // 1 = its children are chunks
	Kids  [Fanout]Ref
}

// IsZero reports whether every child is zero.
func (n *Node) IsZero() bool { return n.used() == 0 }

// used is the number of children up to the last that is not zero.
func (n *Node) used() int {
	u := Fanout
	for u > 0 && n.Kids[u-1].IsZero() {
		u--
	}
	return u
}

// ID is the content id of the node.
func (n *Node) ID(namer *chunk.Namer) chunk.ID {
	return namer.Node(n.Level, n.content(make([]byte, 0, 64+Fanout*chunk.IDSize)))
}

const (
	runZero   = 0
	runRefs   = 1
	runRepeat = 2
)

// run is one run of the content part: kids [from, to).
type run struct {
	tag      byte
	from, to int
}

// runs cuts the children into maximal runs.
func (n *Node) runs() []run {
	var rs []run
	used := n.used()
	for i := 0; i < used; {
		j := i + 1
		for j < used && n.Kids[j].ID == n.Kids[i].ID {
			j++
		}
		switch {
		case n.Kids[i].IsZero():
			rs = append(rs, run{runZero, i, j})
		case j-i >= 2:
			rs = append(rs, run{runRepeat, i, j})
		case len(rs) > 0 && rs[len(rs)-1].tag == runRefs:
			rs[len(rs)-1].to = j
		default:
			rs = append(rs, run{runRefs, i, j})
		}
		i = j
	}
	return rs
}

func (n *Node) content(b []byte) []byte {
	rs := n.runs()
	b = binary.AppendUvarint(b, uint64(len(rs)))
	for _, r := range rs {
		b = append(b, r.tag)
		b = binary.AppendUvarint(b, uint64(r.to-r.from))
		switch r.tag {
		case runRefs:
			for _, k := range n.Kids[r.from:r.to] {
				b = append(b, k.ID[:]...)
			}
		case runRepeat:
			b = append(b, n.Kids[r.from].ID[:]...)
		}
	}
	return b
}

// Encode is the stored form of n, which is not zero.
func Encode(n *Node) []byte {
	b := append(make([]byte, 0, 128+Fanout*chunk.IDSize), version, n.Level)
	b = n.content(b)
	var refs []Ref
	for _, r := range n.runs() {
		switch r.tag {
		case runRefs:
			refs = append(refs, n.Kids[r.from:r.to]...)
		case runRepeat:
			refs = append(refs, n.Kids[r.from])
		}
	}
	return appendLocations(b, refs)
}

func appendLocations(b []byte, refs []Ref) []byte {
	var packs []pack.ID
	number := make(map[pack.ID]int, 4)
	for _, r := range refs {
		if _, ok := number[r.Pack]; !ok {
			number[r.Pack] = len(packs)
			packs = append(packs, r.Pack)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(packs)))
	for _, p := range packs {
		b = append(b, p[:]...)
	}
	for i := 0; i < len(refs); {
		j := i + 1
		for j < len(refs) && follows(refs[i], refs[j], j-i) {
			j++
		}
		b = binary.AppendUvarint(b, uint64(number[refs[i].Pack]))
		b = binary.AppendUvarint(b, uint64(refs[i].Ordinal))
		b = binary.AppendUvarint(b, uint64(j-i))
		i = j
	}
	return b
}

// follows reports whether b lies n places behind a in the same pack.
func follows(a, b Ref, n int) bool {
	return a.Pack == b.Pack && uint64(a.Ordinal)+uint64(n) == uint64(b.Ordinal)
}

// Decode reads what Encode wrote, and refuses anything else.
func Decode(b []byte) (*Node, error) {
	d := decoder{b: b}
	if d.byte() != version {
		return nil, seal.Damaged("tree node has an unknown version")
	}
	n := &Node{Level: d.byte()}
	if n.Level == 0 || n.Level > MaxLevel {
		return nil, seal.Damaged("tree node has level %d", n.Level)
	}
	d.content(n)
	d.locations(n)
	if d.bad || len(d.b) != 0 {
		return nil, seal.Damaged("tree node is malformed")
	}
	if string(Encode(n)) != string(b) {
		return nil, seal.Damaged("tree node is not in its canonical form")
	}
	return n, nil
}

type decoder struct {
	b   []byte
	bad bool
	// first is, for each child that has a location of its own, its slot.
	slots []int
	// repeat is the end of the repeat run that begins at a slot.
	repeat [Fanout]int
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

// number reads a uvarint that is at most limit.
func (d *decoder) number(limit uint64) int {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > limit {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return int(v)
}

func (d *decoder) take(p []byte) {
	if len(d.b) < len(p) {
		d.bad = true
		return
	}
	d.b = d.b[copy(p, d.b):]
}

func (d *decoder) content(n *Node) {
	runs, at := d.number(Fanout), 0
	for ; runs > 0 && !d.bad; runs-- {
		tag := d.byte()
		count := d.number(uint64(Fanout - at))
		switch tag {
		case runZero:
		case runRefs:
			for i := at; i < at+count; i++ {
				d.take(n.Kids[i].ID[:])
				d.slots = append(d.slots, i)
				d.repeat[i] = i + 1
			}
		case runRepeat:
			var id chunk.ID
			d.take(id[:])
			for i := at; i < at+count; i++ {
				n.Kids[i].ID = id
			}
			d.slots = append(d.slots, at)
			d.repeat[min(at, Fanout-1)] = at + count
		default:
			d.bad = true
		}
		at += count
	}
}

func (d *decoder) locations(n *Node) {
	packs := make([]pack.ID, d.number(Fanout))
	for i := range packs {
		d.take(packs[i][:])
	}
	for done := 0; done < len(d.slots) && !d.bad; {
		p := d.number(Fanout)
		first := d.number(1<<32 - 1)
		count := d.number(uint64(len(d.slots) - done))
		if p >= len(packs) || count == 0 {
			d.bad = true
			return
		}
		for i := range count {
			at := d.slots[done+i]
			for j := at; j < d.repeat[at]; j++ {
				n.Kids[j].Pack, n.Kids[j].Ordinal = packs[p], uint32(first+i)
			}
		}
		done += count
	}
}

// IDOf is the content id of a stored node.
func IDOf(namer *chunk.Namer, b []byte) (chunk.ID, error) {
	n, err := Decode(b)
	if err != nil {
		return chunk.ID{}, err
	}
	return n.ID(namer), nil
}
