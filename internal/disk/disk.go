// Package disk is the neutral ground of the data wing: what a disk's content
// looks like to those who read it and to those who write it. It knows no
// hypervisor, no network protocol and no repository.
//
// A [Source] is the content of one disk, frozen at one moment. A [Target] is a
// disk being filled. [Extent] describes a byte range of either.
//
// The package promises ordered, gapless extents from every Source made here,
// and that [Copy] writes a Target that reads back exactly as its Source. It
// does not promise that a Source's bytes are the bytes of a running guest:
// freezing is the snapshot's work.
package disk

import (
	"context"
	"iter"
)

// Kind says what is known of a range before it is read.
type Kind uint8

const (
	// Data must be read: its bytes are unknown.
	Data Kind = iota
	// Zero reads as zero bytes and need not be read.
	Zero
	// Same is unchanged since the base that the Source was opened against.
	// Only a Source with a base yields it; its bytes can still be read.
	Same
)

// Extent is a half-open byte range [Offset, Offset+Length) of one Kind.
type Extent struct {
	Offset int64 // bytes from the start of the disk
	Length int64 // bytes, > 0
	Kind   Kind
}

// End is the offset of the first byte after the extent.
func (e Extent) End() int64 { return e.Offset + e.Length }

// Source is the content of one disk at one moment.
//
// ReadAt may be called from many goroutines at once. Extents may be called
// more than once, each time from the start; it yields extents in order of
// offset, without gaps or overlaps, covering [0, Size); a non-nil error ends
// the sequence. Extents streams: it never holds the whole map in memory.
type Source interface {
	Size() int64 // bytes
	Extents(ctx context.Context) iter.Seq2[Extent, error]
	ReadAt(p []byte, off int64) (int, error)
}

// Target is a disk being filled. WriteAt and Zero may be called from many
// goroutines at once on ranges that do not overlap.
//
// Nothing counts as written until Sync has returned nil. A Target that starts
// empty (reads as zeroes everywhere) says so through Fresh, so that a writer
// can leave zero ranges alone.
type Target interface {
	Size() int64 // bytes
	Fresh() bool
	WriteAt(p []byte, off int64) (int, error)
	Zero(off, length int64) error
	Sync() error
}
