// Package objstore is the contract for a place that keeps immutable objects: a
// directory, an S3 bucket, an Azure Blob container, a GCS bucket.
//
// The folders below it implement the contract (local, mem, s3, azblob, gcs) or
// wrap an implementation (retry, limit, trace; fault for tests). The suite in
// objstoretest runs on all of them. A store knows nothing of what it holds.
package objstore

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// The errors a Store promises. Test with errors.Is. Anything else is a failure
// of the store or of the way to it, about which the caller knows nothing: it
// is never to be taken for damage or absence.
var (
	ErrNotExist   = errors.New("object does not exist")
	ErrExist      = errors.New("object exists already")
	ErrHeld       = errors.New("object is held by retention")
	ErrFull       = errors.New("store is full")
	ErrPermission = errors.New("store refuses access")
	ErrInvalid    = errors.New("invalid object name or range")
)

// Body is the content of an object to be put. It can be read more than once,
// so that a failed put can be repeated. *bytes.Reader and *io.SectionReader
// are Bodies.
type Body interface {
	io.ReaderAt
	Size() int64
}

// Info describes one stored object.
type Info struct {
	Name string
	Size int64 // bytes
	// RetainUntil is when the store's own lock on the object ends; zero if it
	// has none or if the listing does not say (Stat always says).
	RetainUntil time.Time
}

// PutOptions changes a Put. The zero value is the usual case.
type PutOptions struct {
	// RetainUntil, when set, asks the store to refuse deletion before that
	// time. A store without Features.Retention fails with ErrInvalid.
	RetainUntil time.Time
	// LeaveRoom asks for ErrFull rather than the last of the store's room, which
	// deleting takes too (LastRoom). Only a store that knows its room does so.
	LeaveRoom bool
}

// LastRoom is how much room of so many bytes a Put with LeaveRoom leaves.
func LastRoom(total int64) int64 { return min(total/32, 64<<20) }

// Features says what a store can do beyond the contract's minimum.
type Features struct {
	Retention bool // objects can be locked against deletion until a time
}

// Store keeps immutable objects by name.
//
// Names are what ValidName accepts; anything else is ErrInvalid. No name may be
// the directory of another: where "a" is stored, a store may refuse "a/b" with
// ErrInvalid, and the other way round. All verbs may be called from many
// goroutines, and from many processes on the same place.
//
// Visibility: after Put returns nil every later Get, Stat and List, from any
// process, sees the whole object; before that, none sees a part of it.
// Durability: after Put returns nil, or ErrExist, the object survives a crash of
// the machine that holds it; after Delete returns nil, so does its absence.
// Retries: every verb may be repeated; a Put repeated after an unclear failure
// may return ErrExist for its own earlier success, a Delete ErrNotExist.
// Cancel: a verb whose context ends returns soon with the context's error; a
// Put cut so has stored the whole object or nothing.
type Store interface {
	// Put creates the object, or fails with ErrExist and changes nothing.
	Put(ctx context.Context, name string, body Body, opt PutOptions) error
	// Get opens length bytes from off; length < 0 means to the end. Fewer
	// bytes than asked (range past the end) is ErrInvalid, never a short read.
	// The reader's last Read returns io.EOF only after all of them; a reader
	// cut earlier returns another error. The context also bounds the reading.
	Get(ctx context.Context, name string, off, length int64) (io.ReadCloser, error)
	// Stat describes the object or fails with ErrNotExist.
	Stat(ctx context.Context, name string) (Info, error)
	// List yields objects whose name starts with prefix, in byte order of the
	// name, beginning after the name after ("" = from the first). An object
	// that is there during the whole listing is yielded once; one that comes
	// or goes meanwhile may be or not. An error ends the listing.
	List(ctx context.Context, prefix, after string) iter.Seq2[Info, error]
	// Delete removes the object, or fails with ErrNotExist or ErrHeld.
	Delete(ctx context.Context, name string) error
	// Retain extends the object's lock to until; it never shortens one, and
	// fails with ErrInvalid in a store without Features.Retention. Stores may
	// round until up to whole seconds.
	Retain(ctx context.Context, name string, until time.Time) error
	// Features says what this store can do.
	Features() Features
	// String is the store's location, without secrets, as the user wrote it.
	String() string
}
