package holdfast

import (
	"context"
	"io"
	"time"
)

// PointRef names a point in a repository.
type PointRef struct {
	Repository RepositoryRef `json:"repository"`
	PointID    string        `json:"pointId"`
}

// RestorePointArgs asks for one restore point of one VM in a site's operational
// repository: a new one, or with Source a copy of one of another site. The points
// of a VM are one series there, named by its UUID, whichever collection or backup
// asked for them: each is read by what has changed since the one before.
type RestorePointArgs struct {
	// Site is that of Operational; of a new point it is the VM's, too.
	Site        SiteRef       `json:"site"`
	VM          VMRef         `json:"vm"`
	Operational RepositoryRef `json:"operational"`
	// PointID is chosen when the job is made, so that a job run again after a
	// crash finds what it had already committed. A copy has that of its Source.
	PointID string `json:"pointId"`
	// Want is the best consistency asked for; less is met with a warning.
	Want Consistency `json:"want,omitempty"`
	// ExcludeLUNs are disks left out. Temporary disks and NVMe devices of the
	// host are left out unasked (matrix RPT-11, RPT-24).
	ExcludeLUNs []int `json:"excludeLuns,omitempty"`
	// ReadRate limits reading from the guest's disks, bytes per second; 0 = no limit.
	ReadRate int64 `json:"readRate,omitempty"`
	// Source, if set, is the point to copy: it is sealed again, and nothing is
	// captured nor is a host asked. Want, ExcludeLUNs and ReadRate say nothing then.
	Source *PointRef `json:"source,omitempty"`
}

// RestorePointResult is one committed restore point. Of a copy it is what the
// source's manifest says, but for what the disks cost.
type RestorePointResult struct {
	PointID     string      `json:"pointId"`
	Time        time.Time   `json:"time"` // the snapshot's moment, server clock
	Consistency Consistency `json:"consistency"`
	// Reason says what was proved, or why it is not better than Consistency.
	Reason    string        `json:"reason"`
	FrozenFor time.Duration `json:"frozenFor"` // how long the guest's file systems stood still
	// VM is the machine at that moment, with all of its disks; those in the point
	// are Disks.
	VM       VMFact       `json:"vm"`
	Disks    []DiskResult `json:"disks"`
	Warnings []string     `json:"warnings,omitempty"`
}

// Content is one disk of a point, to be read. It is safe for concurrent use.
type Content interface {
	io.ReaderAt
	Size() int64 // bytes
	// Filled calls f for each range that is not known to be zeroes, in order, until
	// f says no.
	Filled(ctx context.Context, f func(off, length int64) bool) error
}
