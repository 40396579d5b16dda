// Package job runs long work. A job is a row of the catalog, made in the same
// transaction as the resource change that asks for it; River only decides when
// it runs. The row is what its user sees as an Azure job.
//
//	               Enqueue
//	                  |
//	                  v         Cancel
//	+----------> InProgress ------------> Cancelling
//	| a process  |    |    |                |
//	+-- died ----+    |    +--- error ---+  | the run ended
//	                  |                  |  |
//	     result       v                  v  v
//	Completed, CompletedWithWarnings   Failed, Cancelled
//
// It promises: a job runs at least once, and its result is applied exactly
// once, in the transaction that ends its row; a job that a dead process was
// running is run again at once by the next one, up to Config.Attempts times; a
// graceful stop leaves a job to be run again and does not count as an attempt;
// a cancelled job's context ends with ErrCanceled as its cause.
//
// It does not promise that a run is never repeated: a runner must be
// idempotent, and finish or fail cleanly when run again with the same Args.
package job

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"holdfast"
	"holdfast/internal/catalog"
)

// State is how far a job is. The words are Azure's (AzureIaaSVMJob.status).
type State string

// The states. Only the first two are not final.
const (
	InProgress            State = "InProgress"
	Cancelling            State = "Cancelling"
	Completed             State = "Completed"
	CompletedWithWarnings State = "CompletedWithWarnings"
	Failed                State = "Failed"
	Cancelled             State = "Cancelled"
)

// Spec says what a job is for.
type Spec struct {
	Operation string // what its user calls it: Backup, Restore, ConfigureBackup, …
	Scope     string // ARM id of the vault it is listed under
	Subject   string // ARM id of the item it works on
	Entity    string // friendly name of that item
	Principal string // who asked for it
	// Exclusive, if set, lets no other job with the same one run at the same time.
	Exclusive string
}

// Job is a job as its row has it.
type Job struct {
	ID   string
	Kind string // "" when nothing runs: the work was done when the row was made
	Spec
	State       State
	Cancellable bool
	Attempts    int // how many processes have begun it
	Args        json.RawMessage
	Result      json.RawMessage // null until it ended well
	Report      Report
	Failure     *Failure  // why it failed or was cancelled
	Created     time.Time // also its start: a queued job is InProgress
	Ended       time.Time // zero while it runs
}

// Failure is a holdfast.Error as it is kept.
type Failure struct {
	Kind    holdfast.Kind `json:"kind"`
	Target  string        `json:"target,omitempty"`
	Message string        `json:"message"`
	Hint    string        `json:"hint,omitempty"`
}

// Final says whether the job has ended.
func (j Job) Final() bool { return !j.Ended.IsZero() }

// Retriable says whether the job can be tried again: a backup or a restore that
// did not end well.
func (j Job) Retriable() bool {
	return j.Final() && (j.State == Failed || j.State == Cancelled) && (j.Operation == "Backup" || j.Operation == "Restore")
}

// Filter picks jobs of one scope; empty fields pick all.
type Filter struct {
	ID        string
	Scope     string
	Subject   string
	Operation string
	State     State
	From, To  time.Time // created between, inclusive
	// Before continues a listing after the job with this id and creation time.
	Before *Job
	// Running picks the jobs that have not ended.
	Running bool
	Limit   int // at most so many; 0 is no limit
}

// states and operations are the words that a filter may give in any case.
var (
	states     = []string{string(InProgress), string(Cancelling), string(Completed), string(CompletedWithWarnings), string(Failed), string(Cancelled)}
	operations = []string{"Backup", "Restore", "ConfigureBackup", "DisableBackup", "DeleteBackupData", "DeleteRecoveryPoints", "DeleteInstantPoints", "HoldRecoveryPoints", "Undelete"}
)

// States are the words for how far a job is.
func States() []string { return slices.Clone(states) }

// canonical gives a word in the case it is kept in.
func canonical(word string, known []string) string {
	for _, k := range known {
		if strings.EqualFold(k, word) {
			return k
		}
	}
	return word
}

const columns = `id, kind, operation, scope, subject, entity, principal, state, cancellable, attempts, args, result, report, failure, created, ended`

// Get returns a job, or holdfast.NotFound.
func Get(tx *catalog.Tx, id string) (Job, error) {
	row := tx.QueryRow(`SELECT `+columns+` FROM job WHERE id = ?`, strings.ToLower(id))
	j, err := scanJob(row.Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return j, holdfast.Errorf(holdfast.NotFound, id, "The job %q was not found.", id)
	}
	return j, err
}

// List returns jobs, newest first.
func List(tx *catalog.Tx, f Filter) ([]Job, error) {
	conds, args := []string{`1 = 1`}, []any(nil)
	add := func(cond string, arg ...any) { conds, args = append(conds, cond), append(args, arg...) }
	if f.ID != "" {
		add(`id = ?`, strings.ToLower(f.ID))
	}
	if f.Scope != "" {
		add(`scope = ?`, strings.ToLower(f.Scope))
	}
	if f.Subject != "" {
		add(`subject = ?`, strings.ToLower(f.Subject))
	}
	if f.Operation != "" {
		add(`operation = ?`, canonical(f.Operation, operations))
	}
	if f.State != "" {
		add(`state = ?`, canonical(string(f.State), states))
	}
	if f.Running {
		add(`ended = 0`)
	}
	if !f.From.IsZero() {
		add(`created >= ?`, catalog.Micros(f.From))
	}
	if !f.To.IsZero() {
		add(`created <= ?`, catalog.Micros(f.To))
	}
	if f.Before != nil {
		at := catalog.Micros(f.Before.Created)
		add(`(created < ? OR created = ? AND id < ?)`, at, at, f.Before.ID)
	}
	text := `SELECT ` + columns + ` FROM job WHERE ` + strings.Join(conds, ` AND `) + ` ORDER BY created DESC, id DESC`
	if f.Limit > 0 {
		text += fmt.Sprintf(` LIMIT %d`, f.Limit)
	}
	return catalog.Collect(tx, scanJob, text, args...)
}

// Record keeps a job that is already done: its work is the transaction it is in.
func Record(tx *catalog.Tx, s Spec) (Job, error) {
	j := newJob(tx, "", s, nil)
	j.State, j.Cancellable, j.Ended = Completed, false, tx.Now()
	return j, insert(tx, j)
}

// RecordFailed keeps a job that could not even begin. OnEnd is not called.
func RecordFailed(tx *catalog.Tx, s Spec, err error) (Job, error) {
	j := newJob(tx, "", s, nil)
	j.State, j.Cancellable, j.Ended, j.Failure = Failed, false, tx.Now(), FailureOf(err)
	return j, insert(tx, j)
}

func newJob(tx *catalog.Tx, kind string, s Spec, args any) Job {
	s.Scope, s.Subject = strings.ToLower(s.Scope), strings.ToLower(s.Subject)
	return Job{
		ID: uuid.NewString(), Kind: kind, Spec: s, State: InProgress, Cancellable: true,
		Args: holdfast.Marshal(args), Result: json.RawMessage("null"), Created: tx.Now(),
	}
}

// insert writes a new row. Another running job with the same Exclusive is a Conflict.
func insert(tx *catalog.Tx, j Job) error {
	exclusive := sql.NullString{String: strings.ToLower(j.Exclusive), Valid: j.Exclusive != ""}
	if exclusive.Valid {
		if err := Idle(tx, j.Exclusive, j.Entity); err != nil {
			return err
		}
	}
	_, err := tx.Exec(`INSERT INTO job (exclusive, `+columns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		exclusive, j.ID, j.Kind, j.Operation, j.Scope, j.Subject, j.Entity, j.Principal, j.State, flag(j.Cancellable), j.Attempts,
		string(j.Args), string(j.Result), string(holdfast.Marshal(j.Report)), string(holdfast.Marshal(j.Failure)),
		catalog.Micros(j.Created), catalog.Micros(j.Ended))
	return err
}

// ForgetArgs drops what a job was asked to do, in the transaction that ends it:
// it may hold secrets, and nobody needs it any more.
func ForgetArgs(tx *catalog.Tx, id string) error {
	_, err := tx.Exec(`UPDATE job SET args = '{}' WHERE id = ?`, id)
	return err
}

// Exclusive is what a job held while it ran (Spec.Exclusive).
func Exclusive(tx *catalog.Tx, id string) (held string, err error) {
	err = tx.QueryRow(`SELECT coalesce(exclusive, '') FROM job WHERE id = ?`, id).Scan(&held)
	return held, err
}

// Idle is nil when no running job holds exclusive, and else a Conflict that
// names the job. entity is what the job's user calls it.
func Idle(tx *catalog.Tx, exclusive, entity string) error {
	var id, operation string
	err := tx.QueryRow(`SELECT id, operation FROM job WHERE exclusive = ? AND ended = 0`, strings.ToLower(exclusive)).Scan(&id, &operation)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return holdfast.Errorf(holdfast.Conflict, entity, "A %s job of %q is already running: %s.", words(operation), entity, id).
		WithHint("Wait for it to end or cancel it, then try again.")
}

// words are those of an operation's name: "delete backup data" of DeleteBackupData.
func words(operation string) string {
	var b strings.Builder
	for i, r := range operation {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

func scanJob(scan func(...any) error) (j Job, err error) {
	var args, result, report, failure string
	var cancellable int
	var created, ended int64
	err = scan(&j.ID, &j.Kind, &j.Operation, &j.Scope, &j.Subject, &j.Entity, &j.Principal, &j.State, &cancellable, &j.Attempts,
		&args, &result, &report, &failure, &created, &ended)
	if err != nil {
		return j, err
	}
	j.Args, j.Result, j.Cancellable = json.RawMessage(args), json.RawMessage(result), cancellable != 0
	j.Created, j.Ended = catalog.Time(created), catalog.Time(ended)
	if err := json.Unmarshal([]byte(report), &j.Report); err != nil {
		return j, fmt.Errorf("job %s: report: %w", j.ID, err)
	}
	if err := json.Unmarshal([]byte(failure), &j.Failure); err != nil {
		return j, fmt.Errorf("job %s: failure: %w", j.ID, err)
	}
	return j, nil
}
