package nbd

import (
	"errors"
	"fmt"
	"syscall"
)

// Flags of a request that changes the export.
type Flags uint16

const (
	// FUA: the answer comes when the data is on stable storage.
	FUA Flags = 1 << 0
	// NoHole: a zeroed range stays allocated. For Zero only.
	NoHole Flags = 1 << 1
	// FastZero: fail at once with ENOTSUP where zeroing is not faster than
	// writing. For Zero only.
	FastZero Flags = 1 << 4
)

// writable refuses a range or flags that the export cannot take.
func (c *Client) writable(off, n int64, flags Flags) error {
	switch {
	case c.info.ReadOnly:
		return errUnwritable
	case flags&FUA != 0 && !c.info.CanFUA:
		return fmt.Errorf("%w: FUA", ErrUnsupported)
	case flags&FastZero != 0 && !c.info.CanFastZero:
		return fmt.Errorf("%w: fast zero", ErrUnsupported)
	}
	return c.check(off, n)
}

// WriteAt writes as io.WriterAt. Ranges that others write at the same time
// must not overlap it. Nothing is durable before Flush.
func (c *Client) WriteAt(p []byte, off int64) (int, error) {
	return c.write(p, off, 0)
}

// WriteFUA writes p so that it is durable on return.
func (c *Client) WriteFUA(p []byte, off int64) (int, error) {
	return c.write(p, off, FUA)
}

func (c *Client) write(p []byte, off int64, flags Flags) (int, error) {
	if err := c.writable(off, int64(len(p)), flags); err != nil || len(p) == 0 {
		return 0, err
	}
	done, err := c.edges(off, int64(len(p)), func(at, n int64, whole bool) (int64, error) {
		part := p[at-off:][:n]
		if !whole {
			return n, c.patch(at, n, flags, func(dst []byte) { copy(dst, part) })
		}
		return c.split(n, c.piece, func(i, k int64) *request {
			return &request{cmd: cmdWrite, flags: uint16(flags), off: at + i, length: uint32(k), payload: part[i : i+k]}
		})
	})
	return int(done), err
}

// Zero makes a range read as zeroes. Without NoHole the server may unmap it.
// Errors: ErrUnsupported where the server has no such request.
func (c *Client) Zero(off, length int64, flags Flags) error {
	if err := c.writable(off, length, flags); err != nil {
		return err
	}
	if !c.info.CanZero {
		return fmt.Errorf("%w: write zeroes", ErrUnsupported)
	}
	_, err := c.edges(off, length, func(at, n int64, whole bool) (int64, error) {
		if !whole {
			return n, c.patch(at, n, flags&FUA, func(dst []byte) { clear(dst) })
		}
		return n, c.effect(cmdWriteZeroes, at, n, flags)
	})
	return err
}

// Trim tells the server that a range's bytes are not needed; what it reads as
// afterwards is not known. The part that is no whole minimum block is left.
func (c *Client) Trim(off, length int64, flags Flags) error {
	if err := c.writable(off, length, flags&^(NoHole|FastZero)); err != nil {
		return err
	}
	if !c.info.CanTrim {
		return fmt.Errorf("%w: trim", ErrUnsupported)
	}
	_, err := c.edges(off, length, func(at, n int64, whole bool) (int64, error) {
		if !whole {
			return n, nil
		}
		return n, c.effect(cmdTrim, at, n, flags&FUA)
	})
	return err
}

// effect sends requests that carry a length but no bytes. Servers may refuse
// those that are longer than their maximum payload (proto.md, "Block size
// constraints"); then they are cut to it.
func (c *Client) effect(cmd uint16, off, n int64, flags Flags) error {
	ask := func(i, k int64) *request {
		return &request{cmd: cmd, flags: uint16(flags), off: off + i, length: uint32(k)}
	}
	short := c.info.MaxPayload / c.info.MinBlock * c.info.MinBlock
	if n > short && !c.plain.Load() {
		_, err := c.split(n, maxEffect, ask)
		if !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.EOVERFLOW) {
			return err
		}
		c.plain.Store(true)
	}
	_, err := c.split(n, short, ask)
	return err
}

// Flush returns when every write that had returned before is durable.
func (c *Client) Flush() error {
	if !c.info.CanFlush {
		return fmt.Errorf("%w: flush", ErrUnsupported)
	}
	return c.do(&request{cmd: cmdFlush})
}

// edges hands out a range in at most three parts: its ragged head, its whole
// minimum blocks, its ragged tail. It returns how many bytes from the start
// are done.
func (c *Client) edges(off, n int64, fn func(off, n int64, whole bool) (int64, error)) (int64, error) {
	b, end := c.info.MinBlock, off+n
	body := (off + b - 1) / b * b
	tail := end / b * b
	if end == c.info.Size {
		tail = end // the last block may be a short one
	}
	if body > tail { // all inside one block
		body, tail = end, end
	}
	done := int64(0)
	for _, part := range [3]struct {
		from, to int64
		whole    bool
	}{{off, body, false}, {body, tail, true}, {tail, end, false}} {
		if part.to <= part.from {
			continue
		}
		k, err := fn(part.from, part.to-part.from, part.whole)
		if err != nil {
			if part.whole {
				done += k
			}
			return done, err
		}
		done += part.to - part.from
	}
	return done, nil
}

// patch changes a range within one minimum block: reads it, changes it, writes
// it. Two of them at once could undo each other, so there is one at a time.
func (c *Client) patch(off, n int64, flags Flags, change func(dst []byte)) error {
	c.edge.Lock()
	defer c.edge.Unlock()
	b := c.info.MinBlock
	start := off / b * b
	buf := make([]byte, min(start+b, c.info.Size)-start)
	if _, err := c.readAligned(buf, start); err != nil {
		return err
	}
	change(buf[off-start:][:n])
	_, err := c.split(int64(len(buf)), c.piece, func(at, n int64) *request {
		return &request{cmd: cmdWrite, flags: uint16(flags), off: start + at, length: uint32(n), payload: buf[at : at+n]}
	})
	return err
}
