package retry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"

	"holdfast/internal/objstore"
)

// watchedBody tells whether the content itself could not be read.
type watchedBody struct {
	objstore.Body
	failed atomic.Bool
}

func (b *watchedBody) ReadAt(p []byte, off int64) (int, error) {
	n, err := b.Body.ReadAt(p, off)
	if n < len(p) && (err != io.EOF || off+int64(n) < b.Size()) {
		b.failed.Store(true)
	}
	return n, err
}

// reader goes on where the reader before it broke off.
type reader struct {
	ctx     context.Context
	s       *Store
	name    string
	inner   io.ReadCloser // nil between two
	off     int64
	left    int64 // < 0 = to the end
	attempt *attempt
	failed  error // final
}

func (r *reader) Read(p []byte) (int, error) {
	for r.failed == nil {
		if r.inner == nil {
			inner, err := r.s.inner.Get(r.ctx, r.name, r.off, r.left)
			if err != nil {
				r.failed = r.attempt.again(r.ctx, err)
				continue
			}
			r.inner = inner
		}
		n, err := r.inner.Read(p)
		r.off += int64(n)
		if r.left >= 0 {
			r.left -= int64(n)
		}
		if n > 0 {
			r.attempt.progress()
		}
		if err == nil || err == io.EOF {
			return n, err
		}
		r.inner.Close() // the failure is err
		r.inner = nil
		r.failed = r.attempt.again(r.ctx, err)
		if n > 0 {
			return n, nil
		}
	}
	return 0, r.failed
}

func (r *reader) Close() error {
	if r.failed == nil {
		r.failed = errors.New("the reader is closed")
	}
	if r.inner == nil {
		return nil
	}
	err := r.inner.Close()
	r.inner = nil
	return err
}

// equal compares what two readers read.
func equal(a, b io.Reader) (bool, error) {
	var pa, pb [64 << 10]byte
	for {
		na, ea := io.ReadFull(a, pa[:])
		nb, eb := io.ReadFull(b, pb[:])
		if !bytes.Equal(pa[:na], pb[:nb]) {
			return false, nil
		}
		if done, err := ended(ea); done || err != nil {
			return err == nil, err
		}
		if done, err := ended(eb); done || err != nil {
			return err == nil, err
		}
	}
}

func ended(err error) (bool, error) {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return true, nil
	}
	return false, err
}
