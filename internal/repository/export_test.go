package repository

import "context"

// Compressed is how many frames of chunks this process has compressed for r.
func (r *Repository) Compressed() int64 { return r.compressed.Load() }

// SetRebuiltEntries bounds what a rebuilt index has in memory, until undo. No
// other test may run meanwhile.
func SetRebuiltEntries(n int) (undo func()) {
	old := rebuiltEntries
	rebuiltEntries = n
	return func() { rebuiltEntries = old }
}

// SegmentLens are the numbers of entries of the index's segments.
func (r *Repository) SegmentLens(ctx context.Context) (lens []uint64, err error) {
	state, err := r.log.Read(ctx)
	if err != nil {
		return nil, err
	}
	v, err := r.viewNow(ctx, state)
	if err != nil {
		return nil, err
	}
	for _, s := range v.segments {
		lens = append(lens, s.Len())
	}
	return lens, nil
}
