// Package ledger is the repository's own log: the one order of everything that
// changed it, from which leases, fencing, liveness and the list of points are
// derived without trusting any clock or file time.
//
// [State] folds records by pure rules; [Log] reads and appends them in a store.
// The package promises that of two appenders exactly one wins each number and
// the loser sees the winner's record before it tries again, that records form
// a chain of hashes, and that one damaged record is read from its successor.
// It does not know what a pack or a tree is made of. See
// docs/design/locking.md and repository-format.md.
package ledger

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"holdfast/internal/repository/index"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/tree"
)

// Op is what a record does.
type Op string

// The operations, append-only: a reader refuses one that it doesn't know.
const (
	Begin   Op = "begin"
	Index   Op = "index"
	Commit  Op = "commit"
	End     Op = "end"
	Fence   Op = "fence"
	Delete  Op = "delete"
	Condemn Op = "condemn"
	Sweep   Op = "sweep"
	Forget  Op = "forget"
	Damage  Op = "damage"
	Lost    Op = "lost"
	Retain  Op = "retain"
)

// Session names one writer's or collector's work from begin to its end.
type Session [12]byte

// String is the session in hex.
func (s Session) String() string { return hex.EncodeToString(s[:]) }

// IsZero reports whether s names no session.
func (s Session) IsZero() bool { return s == Session{} }

// MarshalText is the session in hex.
func (s Session) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *Session) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(s) {
		return fmt.Errorf("session %q is not 24 hex digits", text)
	}
	copy(s[:], b)
	return nil
}

// SessionKind is what a session may do.
type SessionKind string

// The kinds of session.
const (
	Writer    SessionKind = "writer"
	Collector SessionKind = "collector"
)

// Blobs names blobs of one pack; no ordinals means all of it.
type Blobs struct {
	Pack     pack.ID  `json:"pack"`
	Ordinals []uint32 `json:"ordinals,omitempty"`
}

// Stats is what storing a disk cost.
type Stats struct {
	Read   int64 `json:"read"`   // bytes read from the source
	New    int64 `json:"new"`    // bytes of content the repository did not have
	Stored int64 `json:"stored"` // bytes added to the store, sealed, trees included
	Reused int64 `json:"reused"` // bytes of content it had, unread or deduplicated
}

// Disk is one disk of a point.
type Disk struct {
	Name       string          `json:"name"`
	Size       int64           `json:"size"` // bytes
	Level      uint8           `json:"level"`
	Root       *tree.Ref       `json:"root,omitempty"` // absent: the disk is all zero
	Attributes json.RawMessage `json:"attributes,omitempty"`
	Stats      Stats           `json:"stats"`
}

// Point is what the ledger knows of a point: all but its attributes.
type Point struct {
	ID      string    `json:"id"`
	Series  string    `json:"series"`
	Session Session   `json:"session"`
	Created time.Time `json:"created"` // as given at Begin
	Time    time.Time `json:"time"`    // the moment that it shows, as given at Commit
	Disks   []Disk    `json:"disks"`
}

// Object is the name of the point's body in the store.
func (p Point) Object() string { return "points/" + p.Session.String() }

// Seconds is a duration that is written as whole seconds.
type Seconds struct{ time.Duration }

// MarshalJSON is the number of seconds.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendInt(nil, int64(s.Duration/time.Second), 10), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil || n < 0 || n > int64(MaxRetention/time.Second) {
		return fmt.Errorf("retention of %s seconds", b)
	}
	s.Duration = time.Duration(n) * time.Second
	return nil
}

// MaxRetention is the longest retention: 100 years.
const MaxRetention = 100 * 365 * 24 * time.Hour

// Record is one step. Which fields count depends on Op.
type Record struct {
	Seq   uint64    `json:"seq"`
	Prev  string    `json:"prev"` // hex of the checksum of record Seq-1's box
	Nonce string    `json:"nonce"`
	Time  time.Time `json:"time"` // for people only
	Op    Op        `json:"op"`

	Session  Session     `json:"session,omitzero"`
	Kind     SessionKind `json:"kind,omitempty"`
	Series   string      `json:"series,omitempty"`
	Owner    string      `json:"owner,omitempty"`
	Instance string      `json:"instance,omitempty"`
	By       Session     `json:"by,omitzero"`

	Add    []index.ID `json:"add,omitempty"`
	Drop   []index.ID `json:"drop,omitempty"`
	Point  *Point     `json:"point,omitempty"`
	Points []string   `json:"points,omitempty"`
	Packs  []pack.ID  `json:"packs,omitempty"`
	Keep   []pack.ID  `json:"keep,omitempty"`
	Seen   uint64     `json:"seen,omitempty"`
	Blobs  []Blobs    `json:"blobs,omitempty"`
	Healed []Blobs    `json:"healed,omitempty"`
	Lost   uint64     `json:"lost,omitempty"`
	Adopt  []Point    `json:"adopt,omitempty"`

	Retention *Seconds  `json:"retention,omitempty"`
	Until     time.Time `json:"until,omitzero"`

	// Last is record Seq-1 without its own Last.
	Last json.RawMessage `json:"last,omitempty"`
}
