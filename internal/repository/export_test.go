package repository

// Compressed is how many frames of chunks this process has compressed for r.
func (r *Repository) Compressed() int64 { return r.compressed.Load() }
