// Package scale measures what issue-sized machines can't show: a disk of
// 32 TiB, a disk with 9,999 points, an index of 100 million chunks. Content is
// simulated; the repository, its format and its files are real.
//
// Each bench is meant to run in a process of its own, whose peak memory is one
// of the figures.
package scale

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/disk"
	"holdfast/internal/repository/chunk"
)

// Figure is one result. A Bound of 0 means that none was set.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Bound float64 `json:"bound,omitempty"` // at most
}

// Over reports whether the figure misses its bound.
func (f Figure) Over() bool { return f.Bound > 0 && f.Value > f.Bound }

// Options sizes the benches. The zero value is what issue 3 asks for.
type Options struct {
	Dir    string // scratch
	Data   int64  // bytes of data on the sparse disk; 0 = 10 GiB
	Points int    // 0 = 9,999
	Chunks uint64 // in the index; 0 = 100 million
}

// Benches are the scale benches by name.
var Benches = map[string]func(ctx context.Context, o Options, got func(Figure)) error{
	"sparse": sparse,
	"points": points,
	"index":  bigIndex,
}

// PeakMemory is the peak resident set of this process so far.
func PeakMemory() Figure {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic("getrusage of the own process: " + err.Error()) // has no reason to fail
	}
	return Figure{Name: "peak_memory", Value: float64(u.Maxrss << 10), Unit: "bytes", Bound: 512 << 20}
}

// processorTime is what this process has used so far, of all processors.
func processorTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic("getrusage of the own process: " + err.Error()) // has no reason to fail
	}
	return time.Duration(unix.TimevalToNsec(u.Utime) + unix.TimevalToNsec(u.Stime))
}

// synthetic is a Source whose bytes follow from their place and a generation.
// Of each stride the first run bytes are data.
type synthetic struct {
	size        int64
	run, stride int64 // multiples of a chunk
	seed        uint64
	generation  uint64
	fresh       map[int64]bool // chunks that have this generation; others have 0
}

func (s *synthetic) Size() int64 { return s.size }

func (s *synthetic) Extents(context.Context) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		for off := int64(0); off < s.size; off += s.stride {
			data := min(s.run, s.size-off)
			if !yield(disk.Extent{Offset: off, Length: data, Kind: disk.Data}, nil) {
				return
			}
			if rest := min(s.stride, s.size-off) - data; rest > 0 && !yield(disk.Extent{Offset: off + data, Length: rest, Kind: disk.Zero}, nil) {
				return
			}
		}
	}
}

func (s *synthetic) ReadAt(p []byte, off int64) (int, error) {
	if off%chunk.Size != 0 || len(p)%chunk.Size != 0 {
		return 0, fmt.Errorf("synthetic disk: read of %d at %d is not of whole chunks", len(p), off)
	}
	n := 0
	for ; n < len(p) && off+int64(n) < s.size; n += chunk.Size {
		s.chunk(p[n:n+chunk.Size], off+int64(n))
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// chunk fills p: 2 KiB of its own followed by repetitions, so that it is new to
// the repository but compresses 20 to 1.
func (s *synthetic) chunk(p []byte, off int64) {
	if off%s.stride >= s.run {
		clear(p)
		return
	}
	generation := uint64(0)
	if s.fresh[off/chunk.Size] {
		generation = s.generation
	}
	const own = 2 << 10
	rng := rand.NewPCG(s.seed<<32|generation, uint64(off))
	for i := 0; i < own; i += 8 {
		binary.LittleEndian.PutUint64(p[i:], rng.Uint64())
	}
	for i := own; i < len(p); i *= 2 {
		copy(p[i:], p[:i])
	}
}
