package nbd

import (
	"context"
	"fmt"
	"iter"
)

// MaxStatusContexts is how many contexts one BlockStatus can ask for.
const MaxStatusContexts = 4

// Status is what the server says of a byte range: one flag word for each
// context asked for, in that order. "base:allocation": bit 0 hole, bit 1 reads
// as zeroes. "qemu:dirty-bitmap:NAME": bit 0 dirty.
type Status struct {
	Offset int64 // bytes
	Length int64 // bytes, > 0
	Flags  [MaxStatusContexts]uint32
}

// BlockStatus streams the state of the whole export under the given contexts,
// all asked in the same requests and merged: ranges come in order, without
// gaps, each under one combination of flags and as long as that holds within one
// answer of the server. It keeps that answer in memory, never the map, and holds
// back nothing of it. Every context must have been negotiated (ErrNoContext).
func (c *Client) BlockStatus(ctx context.Context, contexts ...string) iter.Seq2[Status, error] {
	return func(yield func(Status, error) bool) {
		if err := c.checkContexts(contexts); err != nil {
			yield(Status{}, err)
			return
		}
		for off, asked := int64(0), int64(0); off < c.info.Size; asked++ {
			if asked > freeStatusRequests && off/asked < minStatusProgress {
				yield(Status{}, protocolError("block status of %d bytes takes %d requests", off, asked))
				return
			}
			answer, length, err := c.askStatus(ctx, off, contexts)
			if err != nil {
				yield(Status{}, err)
				return
			}
			var last Status
			for s := range mergeRuns(off, length, answer) {
				if last.Length > 0 && s.Flags == last.Flags {
					last.Length += s.Length
					continue
				}
				if last.Length > 0 && !yield(last, nil) {
					return
				}
				last = s
			}
			if last.Length > 0 && !yield(last, nil) {
				return
			}
			off += length
		}
	}
}

// A server may answer for less than was asked. One that answers for next to
// nothing each time is cut off: after so many requests, each must have brought
// so many bytes on average.
const (
	freeStatusRequests = 1 << 16
	minStatusProgress  = 4 << 10
)

func (c *Client) checkContexts(contexts []string) error {
	if len(contexts) == 0 || len(contexts) > MaxStatusContexts {
		return fmt.Errorf("nbd: block status of %d contexts, 1 to %d are allowed", len(contexts), MaxStatusContexts)
	}
	for _, name := range contexts {
		if !c.HasContext(name) {
			return fmt.Errorf("%w: %q", ErrNoContext, name)
		}
	}
	return nil
}

// HasContext says whether a metadata context was negotiated.
func (c *Client) HasContext(name string) bool {
	for _, have := range c.info.Contexts {
		if have == name {
			return true
		}
	}
	return false
}

// askStatus makes one request at off and returns the answer for each context
// and the length that all of them cover.
func (c *Client) askStatus(ctx context.Context, off int64, contexts []string) ([][]statusRun, int64, error) {
	r := &request{cmd: cmdBlockStatus, off: off, length: uint32(min(c.info.Size-off, maxStatusRange)),
		status: map[string][]statusRun{}}
	conn := c.conns[0]
	conn.start(r)
	select {
	case <-r.done:
	case <-ctx.Done():
		go conn.wait(r) // the answer still comes; it is for nobody
		return nil, 0, context.Cause(ctx)
	}
	if err := conn.wait(r); err != nil {
		return nil, 0, err
	}
	answer, covered := make([][]statusRun, len(contexts)), int64(r.length)
	for i, name := range contexts {
		runs, ok := r.status[name]
		if !ok {
			return nil, 0, protocolError("block status without context %q", name)
		}
		answer[i] = runs
		length := int64(0)
		for _, run := range runs {
			length += run.length
		}
		covered = min(covered, length)
	}
	return answer, covered, nil
}

// mergeRuns walks the answers of several contexts together, over
// [off, off+length), which all of them cover. It changes them.
func mergeRuns(off, length int64, answer [][]statusRun) iter.Seq[Status] {
	return func(yield func(Status) bool) {
		for length > 0 {
			s := Status{Offset: off, Length: length}
			for i, runs := range answer {
				s.Flags[i] = runs[0].flags
				s.Length = min(s.Length, runs[0].length)
			}
			for i := range answer {
				if answer[i][0].length -= s.Length; answer[i][0].length == 0 {
					answer[i] = answer[i][1:]
				}
			}
			off += s.Length
			length -= s.Length
			if !yield(s) {
				return
			}
		}
	}
}
