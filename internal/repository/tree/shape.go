package tree

import "holdfast/internal/repository/chunk"

// Shape is the arithmetic of one disk's tree.
type Shape struct {
	Size int64 // bytes of the disk
}

// Chunks is how many chunks cover the disk.
func (s Shape) Chunks() int64 { return (s.Size + chunk.Size - 1) / chunk.Size }

// Level is the level of the root: the smallest ≥ 1 that covers the disk.
func (s Shape) Level() uint8 {
	level := uint8(1)
	for Span(level) < s.Size && level < MaxLevel {
		level++
	}
	return level
}

// Leaves is how many leaf nodes cover the disk.
func (s Shape) Leaves() int64 { return (s.Size + Span(1) - 1) / Span(1) }

// Span is how many bytes of disk a node of this level covers; a chunk is level
// 0. It saturates below 2^63.
func Span(level uint8) int64 {
	span := int64(chunk.Size)
	for range level {
		if span > (1<<62)/Fanout {
			return 1 << 62
		}
		span *= Fanout
	}
	return span
}
