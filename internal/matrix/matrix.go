// Package matrix is what Holdfast supports, as data: every row of the two
// support matrices it follows, "Support matrix for Azure VM backup" and
// "Support matrix for VM restore points", in our own words.
//
// A row says what the document states (Stance), what Holdfast does about it
// (Must), whether `limits: extended` lifts it, which rooms enforce it (In) and
// which work is still open (Open). A row without open work is shown by at
// least one test; the package's own tests hold that. A row with open work is
// open, whatever else is there: nobody should trust it yet.
//
// Tests name the rows that they show with Covers. The run's log of what was
// shown is read by internal/matrix/shown; which test covers which row is
// derived from the source and kept in tests.go (make matrix renews it).
//
// The package imports nothing of ours, decides nothing and does no I/O but
// Covers' log.
package matrix

import (
	"slices"
	"strings"
)

// Document is one of the two support matrices.
type Document string

// The documents.
const (
	Backup        Document = "backup"
	RestorePoints Document = "restore-points"
)

// Verdict is the kind of answer that a row gives to "is it supported?".
type Verdict string

// The verdicts.
const (
	Supported    Verdict = "supported"
	NotSupported Verdict = "not supported"
	Conditional  Verdict = "conditional" // yes, under the condition that Stance says
	Limit        Verdict = "limit"       // yes, up to a number
	Behaviour    Verdict = "behaviour"   // neither: it says how something behaves
)

// Row is one line of a support matrix.
type Row struct {
	ID       string   // such as STO-09; never reused
	Document Document // which matrix it is from
	Section  string   // its table there
	Subject  string   // what it is about, in a few words
	Stance   string   // what the document states
	Must     string   // what Holdfast does
	Verdict  Verdict
	Lift     bool     // a rule of the service, not physics: extended limits lift it
	In       []string // rooms that enforce it, as paths below internal/
	Open     string   // the work that brings the rest; "" when nothing is open
}

// Enforcement says where the row is enforced and what is open, on one line.
func (r Row) Enforcement() string {
	in := strings.Join(r.In, ", ")
	switch {
	case r.Open == "":
		return in
	case in == "":
		return "open: " + r.Open
	}
	return in + "; open: " + r.Open
}

// Tests names the tests known to cover the row, as room.TestName.
func (r Row) Tests() []string { return slices.Clone(tests[r.ID]) }

// tables are the sections in the order of the documents.
var tables = []struct {
	document Document
	section  string
	rows     []Row
}{
	{Backup, "scenarios", scenarios},
	{Backup, "actions", actions},
	{Backup, "windows-os", windows},
	{Backup, "linux", linux},
	{Backup, "linux-os", linuxSystems},
	{Backup, "frequency-retention", retention},
	{Backup, "restore-methods", restoreMethods},
	{Backup, "file-restore", fileRestore},
	{Backup, "management", management},
	{Backup, "compute", compute},
	{Backup, "storage", storage},
	{Backup, "network", network},
	{Backup, "security", security},
	{Backup, "compression", compression},
	{RestorePoints, "matrix", restorePoints},
	{RestorePoints, "os", restorePointSystems},
	{RestorePoints, "limits", restorePointLimits},
}

// Rows gives every row in the order of the documents. The caller owns the slice.
func Rows() []Row {
	var all []Row
	for _, t := range tables {
		for _, r := range t.rows {
			r.Document, r.Section = t.document, t.section
			all = append(all, r)
		}
	}
	return all
}

// Find gives the row of an id, and whether there is one.
func Find(id string) (Row, bool) {
	for _, r := range Rows() {
		if r.ID == id {
			return r, true
		}
	}
	return Row{}, false
}
