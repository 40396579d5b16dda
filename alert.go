package holdfast

import (
	"strings"
	"time"
)

// AlertKind is what an alert is about.
type AlertKind string

// The kinds. They are append-only: who receives alerts sorts by them.
const (
	AlertFailed     AlertKind = "JobFailed"         // a backup, restore or clean-up failed
	AlertMissed     AlertKind = "BackupMissed"      // a scheduled backup began late: the server was away or had too much to do
	AlertSoftDelete AlertKind = "ItemSoftDeleted"   // the points of an item were deleted, and can be taken back
	AlertNearlyFull AlertKind = "StorageNearlyFull" // a place for scratch files or a vault has little room left
	AlertUnproved   AlertKind = "PointNotProved"    // a VM did not come up from its newest point as it should
	AlertPoints     AlertKind = "PointsUnreadable"  // restore points are lost or damaged
	AlertTest       AlertKind = "Test"              // somebody wants to see whether alerts arrive
)

// AlertService is what alerts are said to come from.
const AlertService = "Holdfast"

// Alert is what somebody has to know who isn't looking.
type Alert struct {
	ID   string    `json:"id"` // unique; who receives an alert twice knows it by this
	Kind AlertKind `json:"kind"`
	// About names what the alert is about. While one about it is open, there is
	// no second one.
	About    string    `json:"about"`
	Time     time.Time `json:"time"`
	Resolved time.Time `json:"resolved,omitzero"` // zero: it is open
	Resource string    `json:"resource"`          // ARM id
	Entity   string    `json:"entity"`            // its friendly name
	Message  string    `json:"message"`
	Hint     string    `json:"hint,omitempty"` // what to do about it
	Job      string    `json:"job,omitempty"`  // its id
	// Changes are what people have made of it, oldest first.
	Changes []AlertChange `json:"changes,omitempty"`
}

// AlertState is how far people are with an alert. It is theirs alone: whether
// what it tells of still lasts is said by Resolved.
type AlertState string

// The states, as in Azure.
const (
	AlertNew          AlertState = "New"
	AlertAcknowledged AlertState = "Acknowledged"
	AlertClosed       AlertState = "Closed"
)

// AlertChange is a change of an alert's state.
type AlertChange struct {
	Time    time.Time  `json:"time"`
	By      string     `json:"by"` // a principal's name
	From    AlertState `json:"from"`
	To      AlertState `json:"to"`
	Comment string     `json:"comment,omitempty"`
}

// State is how far people are with the alert.
func (a Alert) State() AlertState {
	if len(a.Changes) == 0 {
		return AlertNew
	}
	return a.Changes[len(a.Changes)-1].To
}

// Severity is Azure's, from Sev0, critical, to Sev4, verbose; those of failed
// jobs and deleted data are the ones that Azure Backup gives.
func (a Alert) Severity() string {
	switch a.Kind {
	case AlertSoftDelete:
		return "Sev0"
	case AlertFailed, AlertMissed, AlertUnproved, AlertPoints:
		return "Sev1"
	case AlertNearlyFull:
		return "Sev2"
	}
	return "Sev4"
}

// ARMID is the alert's id in the API: it lies in the subscription of what it is
// about.
func (a Alert) ARMID() string {
	segments := strings.SplitN(a.Resource, "/", 4) // "", subscriptions, S, …
	if len(segments) < 3 {
		return a.ID
	}
	return strings.Join(segments[:3], "/") + "/providers/Microsoft.AlertsManagement/alerts/" + a.ID
}
