package objstore

import (
	"context"
	"fmt"
	"io"
)

// NewReader makes of r, which has the n bytes of a range, the reader that Get
// promises: it ends with io.EOF after exactly n bytes and never before, and
// with ctx. Closing it closes r.
func NewReader(ctx context.Context, r io.ReadCloser, n int64) io.ReadCloser {
	return &exactReader{ctx, r, n, n}
}

type exactReader struct {
	ctx        context.Context
	r          io.ReadCloser
	size, left int64
}

func (e *exactReader) Read(p []byte) (int, error) {
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	if e.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > e.left {
		p = p[:e.left]
	}
	n, err := e.r.Read(p)
	e.left -= int64(n)
	switch {
	case err == io.EOF && e.left == 0 && n > 0:
		err = nil
	case err == io.EOF && e.left > 0:
		err = fmt.Errorf("%w: %d bytes of %d", io.ErrUnexpectedEOF, e.size-e.left, e.size)
	}
	return n, err
}

func (e *exactReader) Close() error { return e.r.Close() }
