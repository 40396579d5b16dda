package identity

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"

	"holdfast/internal/catalog"
	"holdfast/internal/resource"
)

// Event is one line of the audit log.
type Event struct {
	ID           string
	At           time.Time
	Request      string // correlation id
	Principal    string // object id; "" when nobody signed in
	Name         string // the principal's name then
	Source       string // network address
	Action       string
	Resource     string // ARM id
	Subscription string
	Status       int    // HTTP
	Code         string // of a refusal
}

// Audit adds a line to the audit log. There is no way to change one.
func (s *Service) Audit(ctx context.Context, e Event) error {
	return s.Catalog.Update(ctx, func(tx *catalog.Tx) error {
		_, err := tx.Exec(`INSERT INTO audit (id, at, request, principal, name, source, action, resource, subscription, status, code) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			uuid.NewString(), catalog.Micros(tx.Now()), e.Request, e.Principal, e.Name, e.Source, e.Action, e.Resource, strings.ToLower(e.Subscription), e.Status, e.Code)
		return err
	})
}

// EventFilter picks lines of the audit log of one subscription.
type EventFilter struct {
	Subscription string
	From, To     time.Time // inclusive; zero is open
	Request      string    // correlation id
	Under        string    // resources at or below this id
	Before       *Event    // continues a listing after this line
	Limit        int
}

// Events lists lines of the audit log, newest first.
func (s *Service) Events(ctx context.Context, f EventFilter) ([]Event, error) {
	conds, args := []string{`subscription = ?`}, []any{strings.ToLower(f.Subscription)}
	add := func(cond string, arg ...any) { conds, args = append(conds, cond), append(args, arg...) }
	if !f.From.IsZero() {
		add(`at >= ?`, catalog.Micros(f.From))
	}
	if !f.To.IsZero() {
		add(`at <= ?`, catalog.Micros(f.To))
	}
	if f.Request != "" {
		add(`request = ?`, f.Request)
	}
	if f.Under != "" {
		under := strings.ToLower(f.Under)
		add(`(lower(resource) = ? OR lower(resource) >= ? AND lower(resource) < ?)`, under, under+"/", under+"0")
	}
	if f.Before != nil {
		at := catalog.Micros(f.Before.At)
		add(`(at < ? OR at = ? AND id < ?)`, at, at, f.Before.ID)
	}
	text := `SELECT id, at, request, principal, name, source, action, resource, subscription, status, code FROM audit WHERE ` +
		strings.Join(conds, ` AND `) + ` ORDER BY at DESC, id DESC LIMIT ?`
	args = append(args, f.Limit)
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) ([]Event, error) { return catalog.Collect(tx, scanEvent, text, args...) })
}

// Event returns one line of the audit log of a subscription; false if there is none.
func (s *Service) Event(ctx context.Context, sub, id string) (e Event, found bool, err error) {
	all, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) ([]Event, error) {
		return catalog.Collect(tx, scanEvent, `SELECT id, at, request, principal, name, source, action, resource, subscription, status, code FROM audit WHERE id = ? AND subscription = ?`, id, strings.ToLower(sub))
	})
	if err != nil || len(all) == 0 {
		return e, false, err
	}
	return all[0], true, nil
}

func scanEvent(scan func(...any) error) (e Event, err error) {
	var at int64
	err = scan(&e.ID, &at, &e.Request, &e.Principal, &e.Name, &e.Source, &e.Action, &e.Resource, &e.Subscription, &e.Status, &e.Code)
	e.At = catalog.Time(at)
	return e, err
}
