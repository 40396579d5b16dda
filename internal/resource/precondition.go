package resource

import (
	"context"
	"errors"

	"holdfast"
	"holdfast/internal/catalog"
)

// Precondition is what a caller demands of a resource before it changes it
// (RFC 9110, 13.1): If-Match with its ETag, If-None-Match * for a new one.
type Precondition struct {
	ID     string // of the resource
	Match  string // its ETag must be this; "*" is any, "" demands nothing
	Absent bool   // it must not be there
}

// ErrPrecondition says that a Precondition did not hold; nothing was changed.
var ErrPrecondition = errors.New("resource: the resource is not as its caller expects it")

type preconditionKey struct{}

// WithPrecondition returns a context whose change of the catalog checks p
// first, in the transaction that changes it.
func WithPrecondition(ctx context.Context, p Precondition) context.Context {
	return context.WithValue(ctx, preconditionKey{}, p)
}

// checkPrecondition checks what the context demands.
func checkPrecondition(ctx context.Context, tx *catalog.Tx) error {
	p, ok := ctx.Value(preconditionKey{}).(Precondition)
	if !ok {
		return nil
	}
	r, err := tx.Get(p.ID)
	switch {
	case err != nil && holdfast.KindOf(err) != holdfast.NotFound:
		return err
	case err != nil && p.Match != "", err == nil && p.Absent:
		return ErrPrecondition
	case p.Match != "" && p.Match != "*" && p.Match != r.ETag:
		return ErrPrecondition
	}
	return nil
}
