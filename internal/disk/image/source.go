package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync"

	"holdfast/internal/disk"
	"holdfast/internal/disk/qcow2"
	"holdfast/internal/disk/raw"
	"holdfast/internal/nbd"
)

// Source is an opened image as a disk.Source. Close it.
type Source struct {
	disk.Source
	format string
	closer io.Closer
	watch  *watch
	closed sync.Once
}

// Format of the image: Raw or Qcow2.
func (s *Source) Format() string { return s.format }

// Close ends all reading. It may be called more than once.
func (s *Source) Close() error {
	var err error
	s.closed.Do(func() { err = errors.Join(s.closer.Close(), s.watch.close()) })
	return err
}

// Unchanged returns nil if nobody has written to the image since it was
// opened, as far as its file tells; otherwise ErrInUse. Ask before the bytes
// that were read are called a backup. Backing files are not asked.
func (s *Source) Unchanged() error { return s.watch.unchanged() }

// OpenSource opens an image that nobody writes to (ErrInUse: a QEMU does, now). format is Raw, Qcow2, or ""
// for what Probe says; with a format that is named, a qcow2 image may have
// backing files, which are then read too. The context is the Source's life
// where a child process reads for it. Errors: ErrFormat, ErrInUse;
// qcow2.ErrCorrupt, qcow2.ErrEncrypted.
func OpenSource(ctx context.Context, path, format string) (*Source, error) {
	w, err := newWatch(path)
	if err != nil {
		return nil, err
	}
	s, err := openSource(ctx, path, format)
	if err != nil {
		_ = w.close()
		return nil, err
	}
	s.watch = w
	return s, nil
}

func openSource(ctx context.Context, path, format string) (*Source, error) {
	if format == "" {
		found, err := Probe(path)
		if err != nil {
			return nil, err
		}
		format = found
	}
	switch format {
	case Raw:
		s, err := raw.OpenSource(path)
		if err != nil {
			return nil, err
		}
		return &Source{Source: s, format: Raw, closer: s}, nil
	case Qcow2:
		return openQcow2(ctx, path)
	}
	return nil, fmt.Errorf("%w: %s is %s; only raw and qcow2 are read (a raw disk whose guest wrote this signature must be named raw)", ErrFormat, path, format)
}

func openQcow2(ctx context.Context, path string) (*Source, error) {
	s, err := qcow2.Open(path)
	switch {
	case err == nil:
		return &Source{Source: s, format: Qcow2, closer: s}, nil
	case errors.Is(err, qcow2.ErrEncrypted):
		return nil, err
	case errors.Is(err, qcow2.ErrUnsupported):
		return openThroughQEMU(ctx, path)
	case errors.Is(err, qcow2.ErrNotQcow2):
		return nil, notQcow2(path)
	}
	return nil, err
}

// notQcow2 says what a file is that was called qcow2.
func notQcow2(path string) error {
	found := "unreadable"
	if f, err := os.Open(path); err == nil {
		defer f.Close()
		if size, err := f.Seek(0, io.SeekEnd); err == nil {
			if format, err := probe(f, size); err == nil {
				found = format
			}
		}
	}
	return fmt.Errorf("%w: %s is %s, not qcow2", ErrFormat, path, found)
}

// openThroughQEMU has a qemu-nbd child read the image.
func openThroughQEMU(ctx context.Context, path string) (*Source, error) {
	child, err := startQEMU(path, "--read-only")
	if err != nil {
		return nil, err
	}
	client, err := child.dial(ctx, nbd.Options{Contexts: []string{nbd.ContextAllocation}, Connections: 2})
	if err != nil {
		return nil, err
	}
	src, err := nbd.NewSource(client, nbd.SourceOptions{})
	if err != nil {
		_ = child.Close()
		return nil, err
	}
	return &Source{Source: childSource{src, child}, format: Qcow2, closer: child}, nil
}

// childSource adds what the child said to the errors of its Source.
type childSource struct {
	src   *nbd.Source
	child *child
}

func (s childSource) Size() int64 { return s.src.Size() }

func (s childSource) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.src.ReadAt(p, off)
	return n, s.child.explain(err)
}

func (s childSource) Extents(ctx context.Context) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		for e, err := range s.src.Extents(ctx) {
			if !yield(e, s.child.explain(err)) {
				return
			}
		}
	}
}
