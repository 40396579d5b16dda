package nbd

import (
	"context"
	"encoding/binary"
	"io"
	"iter"

	"holdfast/internal/disk"
)

// maxAnswerRuns bounds the extents of one block status answer: a client asks
// on from where it ends.
const maxAnswerRuns = 4096

// walk is a place in the map of a Source. Clients ask for block status from
// front to back, and the map is walked along with them; one who goes back
// starts it anew.
type walk struct {
	next func() (disk.Extent, error, bool)
	end  func()
	at   disk.Extent // the extent that was taken last
	seen int64       // changes of the export when the walk began
}

// stop forgets the place.
func (w *walk) stop() {
	if w.end != nil {
		w.end()
	}
	*w = walk{}
}

// seek gives the extent that holds off.
func (w *walk) seek(ctx context.Context, e *served, off int64) (disk.Extent, error) {
	if changes := e.changes.Load(); w.next == nil || off < w.at.Offset || w.seen != changes {
		w.stop()
		w.seen = changes
		w.next, w.end = iter.Pull2(e.Source.Extents(ctx))
	}
	for off >= w.at.End() {
		e, err, ok := w.next()
		if !ok && err == nil {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			w.stop()
			return disk.Extent{}, err
		}
		w.at = e
	}
	return w.at, nil
}

// blockStatus answers for base:allocation.
func (t *transmission) blockStatus(ctx context.Context, a *asked) error {
	runs, err := t.runs(ctx, a.off, a.length, a.flags&flagReqOne != 0)
	if err != nil {
		return t.refuse(a, err)
	}
	return t.answer(a, chunkStatus, binary.BigEndian.AppendUint32(nil, allocationID), runs)
}

// runs encodes the extents of a range from its start on, as many as fit.
func (t *transmission) runs(ctx context.Context, off, length int64, one bool) ([]byte, error) {
	t.smu.Lock()
	defer t.smu.Unlock()
	var b []byte
	var last, flags uint32
	for end, n := off+length, 0; off < end && n < maxAnswerRuns; {
		e, err := t.seek(ctx, t.export, off)
		if err != nil {
			return nil, err
		}
		f := uint32(0)
		if e.Kind == disk.Zero {
			f = statusHole | statusZero
		}
		k := uint32(min(e.End(), end) - off)
		off += int64(k)
		switch {
		case last > 0 && f == flags:
			last += k
			continue
		case last > 0 && one:
			return appendRun(b, last, flags), nil
		case last > 0:
			b = appendRun(b, last, flags)
			n++
		}
		last, flags = k, f
	}
	return appendRun(b, last, flags), nil
}

func appendRun(b []byte, length, flags uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, length), flags)
}
