// Package check says whether a store keeps the contract of objstore: each Check
// tries one promise on a real store and cleans up what it has put. The tests of
// every store run them (package objstoretest), and so does
// `holdfast store check` on the user's own bucket.
package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"

	"holdfast/internal/objstore"
)

// Check tries one promise of the contract.
type Check struct {
	Name string // one word, as a test's name
	Says string // the promise, for the user
	// Run returns nil when the promise held, and otherwise what was seen. The
	// store is empty at its start.
	Run func(ctx context.Context, s objstore.Store) error
	// Retention marks checks of stores that have Features.Retention.
	Retention bool
}

// All returns the checks, in the order in which they are best run.
func All() []Check {
	return []Check{
		{Name: "roundtrip", Says: "what was put is what is read, of any size", Run: roundtrip},
		{Name: "create-only", Says: "a second put of a name fails and changes nothing", Run: createOnly},
		{Name: "absent", Says: "an object that isn't there is reported as absent", Run: absent},
		{Name: "ranges", Says: "any range of an object can be read; one outside is refused", Run: ranges},
		{Name: "names", Says: "every valid name is kept as it is, every other refused", Run: names},
		{Name: "visibility", Says: "a finished put or delete is seen at once by every verb", Run: visibility},
		{Name: "list-order", Says: "lists are complete, in byte order, and go on after any name", Run: listOrder},
		{Name: "list-stop", Says: "a list can be stopped early and started again", Run: listStop},
		{Name: "one-winner", Says: "of many that create one name at once, exactly one wins", Run: oneWinner},
		{Name: "whole-or-nothing", Says: "nobody sees a part of an object that is being put", Run: wholeOrNothing},
		{Name: "failed-body", Says: "a put whose content can't be read stores nothing", Run: failedBody},
		{Name: "parallel", Says: "many verbs at once don't disturb each other", Run: parallel},
		{Name: "cancel", Says: "a verb ends when its context does", Run: cancel},
		{Name: "no-retention", Says: "retention is refused where there is none", Run: noRetention},
		{Name: "retention", Says: "a locked object can't be deleted, its lock not shortened", Run: retention, Retention: true},
	}
}

// body returns size bytes that follow from seed.
func body(seed uint64, size int) *bytes.Reader { return bytes.NewReader(content(seed, size)) }

func content(seed uint64, size int) []byte {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	b := make([]byte, size)
	rand.NewChaCha8(key).Read(b) // never fails
	return b
}

func put(ctx context.Context, s objstore.Store, name string, data []byte) error {
	if err := s.Put(ctx, name, bytes.NewReader(data), objstore.PutOptions{}); err != nil {
		return fmt.Errorf("put %q of %d bytes: %w", name, len(data), err)
	}
	return nil
}

// read returns a range of an object, or the error of opening or reading it.
func read(ctx context.Context, s objstore.Store, name string, off, length int64) ([]byte, error) {
	r, err := s.Get(ctx, name, off, length)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

// holds fails unless the object holds exactly want.
func holds(ctx context.Context, s objstore.Store, name string, want []byte) error {
	got, err := read(ctx, s, name, 0, -1)
	if err != nil {
		return fmt.Errorf("get %q: %w", name, err)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("get %q: %d bytes that differ from the %d put", name, len(got), len(want))
	}
	info, err := s.Stat(ctx, name)
	if err != nil {
		return fmt.Errorf("stat %q: %w", name, err)
	}
	if info.Name != name || info.Size != int64(len(want)) {
		return fmt.Errorf("stat %q: answers name %q, %d bytes, want %d", name, info.Name, info.Size, len(want))
	}
	return nil
}

// fails checks that what gave err failed with the promised kind.
func fails(what string, err, want error) error {
	if errors.Is(err, want) {
		return nil
	}
	if err == nil {
		return fmt.Errorf("%s succeeded, want %q", what, want)
	}
	return fmt.Errorf("%s failed with %q, want %q", what, err, want)
}

// saw is what was seen instead of the promised, and the error with it, if any.
func saw(err error, format string, args ...any) error {
	what := fmt.Errorf(format, args...)
	if err == nil {
		return what
	}
	return fmt.Errorf("%w: %w", what, err)
}

// list returns the names and sizes that a listing yields.
func list(ctx context.Context, s objstore.Store, prefix, after string) ([]objstore.Info, error) {
	var all []objstore.Info
	for info, err := range s.List(ctx, prefix, after) {
		if err != nil {
			return all, fmt.Errorf("list %q after %q: %w", prefix, after, err)
		}
		all = append(all, info)
	}
	return all, nil
}
