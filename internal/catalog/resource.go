package catalog

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"holdfast"
)

// Resource is one stored ARM resource.
type Resource struct {
	ID      string          // ARM id, in the case it was first written with
	Type    string          // resource type, such as Microsoft.RecoveryServices/vaults
	Parent  string          // ARM id of what it is listed under
	ETag    string          // changes with every write
	Body    json.RawMessage // what its owner keeps
	Created time.Time       // the transaction that made it, unless its owner set it
	Updated time.Time       // the transaction that last wrote it
}

// Query picks resources. Its zero value picks all.
type Query struct {
	Type   string    // exactly this type
	Parent string    // listed under exactly this id
	Under  string    // id is this one or lies below it
	From   time.Time // created then or later
	To     time.Time // created then or earlier
	After  string    // continues a listing after this id
	Limit  int       // at most so many; 0 is no limit
	Newest bool      // newest first; otherwise by id
}

// Get returns the resource of an id in any case, or holdfast.NotFound.
func (tx *Tx) Get(id string) (Resource, error) {
	row := tx.QueryRow(`SELECT arm_id, type, parent, etag, body, created, updated FROM resource WHERE id = ?`, strings.ToLower(id))
	r, err := scanResource(row.Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return r, holdfast.Errorf(holdfast.NotFound, id, "The resource %q was not found.", id)
	}
	return r, err
}

// Put writes a resource, new or not. Of an existing one it keeps the id's case
// and the creation time. The written resource, with its new ETag, is returned.
func (tx *Tx) Put(r Resource) (Resource, error) {
	r.ETag, r.Updated = uuid.NewString(), tx.now
	if r.Created.IsZero() {
		r.Created = tx.now
	}
	if !json.Valid(r.Body) {
		return r, fmt.Errorf("internal error: body of %s is not JSON", r.ID)
	}
	_, err := tx.Exec(`INSERT INTO resource (id, arm_id, type, parent, etag, body, created, updated) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET type = excluded.type, parent = excluded.parent, etag = excluded.etag, body = excluded.body, updated = excluded.updated`,
		strings.ToLower(r.ID), r.ID, strings.ToLower(r.Type), strings.ToLower(r.Parent), r.ETag, string(r.Body), Micros(r.Created), Micros(r.Updated))
	if err != nil {
		return r, err
	}
	return tx.Get(r.ID)
}

// Delete removes one resource, and says whether it was there.
func (tx *Tx) Delete(id string) (bool, error) {
	res, err := tx.Exec(`DELETE FROM resource WHERE id = ?`, strings.ToLower(id))
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

// DeleteUnder removes every resource below an id, not the id itself.
func (tx *Tx) DeleteUnder(id string) error {
	low, high := span(id)
	_, err := tx.Exec(`DELETE FROM resource WHERE id >= ? AND id < ?`, low, high)
	return err
}

// List returns the resources that a query picks.
func (tx *Tx) List(q Query) ([]Resource, error) {
	where, args := q.where()
	text := `SELECT arm_id, type, parent, etag, body, created, updated FROM resource` + where
	if q.Newest {
		text += ` ORDER BY created DESC, id DESC`
	} else {
		text += ` ORDER BY id`
	}
	if q.Limit > 0 {
		text += fmt.Sprintf(` LIMIT %d`, q.Limit)
	}
	return Collect(tx, scanResource, text, args...)
}

// Count says how many resources a query picks.
func (tx *Tx) Count(q Query) (n int, err error) {
	where, args := q.where()
	err = tx.QueryRow(`SELECT count(*) FROM resource`+where, args...).Scan(&n)
	return n, err
}

// Member names a text member of the bodies that has an index: a constant, since
// it becomes part of a statement.
type Member string

// MemberPolicy is the policy of a protected item.
const MemberPolicy Member = "policy"

// CountBy counts what a query, of a type at least, picks by a member, and leaves
// out what has none.
func (tx *Tx) CountBy(q Query, m Member) (map[string]int, error) {
	where, args := q.where()
	type pair struct {
		word string
		n    int
	}
	word := tx.member(m)
	pairs, err := Collect(tx, func(scan func(...any) error) (p pair, err error) { err = scan(&p.word, &p.n); return p, err },
		`SELECT `+word+`, count(*) FROM resource`+where+` AND `+word+` IS NOT NULL GROUP BY 1`, args...)
	counts := map[string]int{}
	for _, p := range pairs {
		counts[p.word] = p.n
	}
	return counts, err
}

func (q Query) where() (string, []any) {
	var conds []string
	var args []any
	add := func(cond string, arg ...any) { conds, args = append(conds, cond), append(args, arg...) }
	if q.Type != "" {
		add(`type = ?`, strings.ToLower(q.Type))
	}
	if q.Parent != "" {
		add(`parent = ?`, strings.ToLower(q.Parent))
	}
	if q.Under != "" {
		low, high := span(q.Under)
		add(`(id = ? OR id >= ? AND id < ?)`, strings.ToLower(q.Under), low, high)
	}
	if !q.From.IsZero() {
		add(`created >= ?`, Micros(q.From))
	}
	if !q.To.IsZero() {
		add(`created <= ?`, Micros(q.To))
	}
	if q.After != "" && q.Newest {
		add(`(created, id) < (SELECT created, id FROM resource WHERE id = ?)`, strings.ToLower(q.After))
	} else if q.After != "" {
		add(`id > ?`, strings.ToLower(q.After))
	}
	if len(conds) == 0 {
		return "", nil
	}
	return ` WHERE ` + strings.Join(conds, ` AND `), args
}

// span is the half-open range of the lower-case ids below id: '0' follows '/'.
func span(id string) (low, high string) {
	id = strings.ToLower(strings.TrimSuffix(id, "/"))
	return id + "/", id + "0"
}

func scanResource(scan func(...any) error) (r Resource, err error) {
	var body string
	var created, updated int64
	err = scan(&r.ID, &r.Type, &r.Parent, &r.ETag, &body, &created, &updated)
	r.Body, r.Created, r.Updated = json.RawMessage(body), Time(created), Time(updated)
	return r, err
}

// Read returns the resource of an id and its body as T.
func Read[T any](tx *Tx, id string) (T, Resource, error) {
	var v T
	r, err := tx.Get(id)
	if err != nil {
		return v, r, err
	}
	v, err = Decode[T](r)
	return v, r, err
}

// Write puts a resource with v as its body.
func Write(tx *Tx, r Resource, v any) (Resource, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return r, fmt.Errorf("write %s: %w", r.ID, err)
	}
	r.Body = body
	return tx.Put(r)
}

// Decode returns a resource's body as T.
func Decode[T any](r Resource) (v T, err error) {
	if err = json.Unmarshal(r.Body, &v); err != nil {
		err = fmt.Errorf("read %s: %w", r.ID, err)
	}
	return v, err
}
