package notify

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"holdfast"
	"holdfast/internal/catalog"
)

// Filter picks alerts; empty fields pick all.
type Filter struct {
	Scope string    // ARM id: of it, or of what is in it
	From  time.Time // raised at or after
	// After continues a listing after the alert with this id and time.
	After *holdfast.Alert
	Limit int
}

const columns = `SELECT body, resolved FROM alert `

func scanAlert(scan func(...any) error) (holdfast.Alert, error) {
	var body string
	var resolved int64
	if err := scan(&body, &resolved); err != nil {
		return holdfast.Alert{}, err
	}
	return decode(body, resolved)
}

// List returns alerts, newest first.
func List(tx *catalog.Tx, f Filter) ([]holdfast.Alert, error) {
	conds, args := []string{`1 = 1`}, []any(nil)
	if f.Scope != "" {
		scope := strings.ToLower(f.Scope)
		conds = append(conds, `(resource = ? OR resource > ? AND resource < ?)`) // "0" is what follows "/"
		args = append(args, scope, scope+"/", scope+"0")
	}
	if !f.From.IsZero() {
		conds, args = append(conds, `created >= ?`), append(args, catalog.Micros(f.From))
	}
	if f.After != nil {
		at := catalog.Micros(f.After.Time)
		conds, args = append(conds, `(created < ? OR created = ? AND id < ?)`), append(args, at, at, f.After.ID)
	}
	query := columns + `WHERE ` + strings.Join(conds, ` AND `) + ` ORDER BY created DESC, id DESC`
	if f.Limit > 0 {
		query += fmt.Sprintf(` LIMIT %d`, f.Limit)
	}
	return catalog.Collect(tx, scanAlert, query, args...)
}

// Get returns one alert, or holdfast.NotFound.
func Get(tx *catalog.Tx, id string) (holdfast.Alert, error) {
	a, err := scanAlert(tx.QueryRow(columns+`WHERE id = ?`, strings.ToLower(id)).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return a, holdfast.Errorf(holdfast.NotFound, id, "The alert %q was not found.", id)
	}
	return a, err
}

// Change keeps a change of an alert's state.
func Change(tx *catalog.Tx, a holdfast.Alert, c holdfast.AlertChange) (holdfast.Alert, error) {
	a.Changes = append(a.Changes, c)
	body := a
	body.Resolved = time.Time{} // that is in its own column
	_, err := tx.Exec(`UPDATE alert SET body = ? WHERE id = ?`, string(holdfast.Marshal(body)), a.ID)
	return a, err
}

// Delivery is what became of an alert on one channel.
type Delivery struct {
	Channel string    `json:"channel"`
	State   State     `json:"state"`
	Tries   int       `json:"tries"`
	Taken   bool      `json:"taken"`
	Next    time.Time `json:"next,omitzero"` // of a try; zero: there is none
	Error   string    `json:"error,omitempty"`
}

// Deliveries are those of an alert.
func Deliveries(tx *catalog.Tx, id string) ([]Delivery, error) {
	return catalog.Collect(tx, func(scan func(...any) error) (d Delivery, err error) {
		var due, ended int64
		err = scan(&d.Channel, &d.State, &d.Tries, &due, &ended, &d.Error)
		d.Taken = ended != 0 && d.Error == ""
		if ended == 0 {
			d.Next = catalog.Time(due)
		}
		return d, err
	}, `SELECT channel, state, tries, due, ended, error FROM delivery WHERE alert = ? ORDER BY channel, state`, strings.ToLower(id))
}

// Waiting counts the deliveries that have not ended.
func Waiting(tx *catalog.Tx) (n int, err error) {
	err = tx.QueryRow(`SELECT count(*) FROM delivery WHERE ended = 0`).Scan(&n)
	return n, err
}
