package holdfast

// ExamineArgs asks how the points of an operational repository are.
type ExamineArgs struct {
	Repository RepositoryRef
	Points     []string // that are listed
	ReadRate   int64    // bytes per second; 0 = no limit
}

// Health is how they are.
type Health struct {
	// Unreadable says of points why they cannot be read: they are lost or damaged.
	Unreadable map[string]string `json:"unreadable,omitempty"`
}

// Aside is what was an operational repository and could not be used any more.
type Aside struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"` // of its files
}
