package holdfast

import "time"

// AlertKind is what an alert is about.
type AlertKind string

// The kinds. They are append-only: who receives alerts sorts by them.
const (
	AlertFailed     AlertKind = "JobFailed"         // a backup, restore or clean-up failed
	AlertMissed     AlertKind = "BackupMissed"      // a scheduled backup began late: the server was away or had too much to do
	AlertSoftDelete AlertKind = "ItemSoftDeleted"   // the points of an item were deleted, and can be taken back
	AlertNearlyFull AlertKind = "StorageNearlyFull" // a place for scratch files or a vault has little room left
)

// Alert is what somebody has to know who isn't looking.
type Alert struct {
	ID       string    `json:"id"` // unique; who receives an alert twice knows it by this
	Kind     AlertKind `json:"kind"`
	Time     time.Time `json:"time"`
	Resource string    `json:"resource"` // ARM id, or a path
	Entity   string    `json:"entity"`   // its friendly name
	Message  string    `json:"message"`
	Hint     string    `json:"hint,omitempty"` // what to do about it
	Job      string    `json:"job,omitempty"`  // its id
}
