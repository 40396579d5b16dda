package nbd

import (
	"bufio"
	"encoding/binary"
	"io"
	"sort"
)

// statusRun is one answered range of one metadata context.
type statusRun struct {
	length int64
	flags  uint32
}

// readReplies takes replies until the connection ends. It always returns an
// error.
func (c *conn) readReplies(br *bufio.Reader) error {
	var h [20]byte
	for {
		if _, err := io.ReadFull(br, h[:16]); err != nil {
			return unexpected(err)
		}
		var err error
		switch magic := binary.BigEndian.Uint32(h[:]); magic {
		case magicSimple:
			err = c.simple(br, binary.BigEndian.Uint32(h[4:]), binary.BigEndian.Uint64(h[8:]))
		case magicStructured:
			if !c.info.Structured {
				return protocolError("structured reply without having agreed on them")
			}
			if _, err := io.ReadFull(br, h[16:]); err != nil {
				return unexpected(err)
			}
			err = c.chunk(br, binary.BigEndian.Uint16(h[4:]), binary.BigEndian.Uint16(h[6:]),
				binary.BigEndian.Uint64(h[8:]), binary.BigEndian.Uint32(h[16:]))
		default:
			err = protocolError("reply with magic %#x", magic)
		}
		if err != nil {
			return err
		}
	}
}

// unexpected says that an end of stream is not fine here.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// simple takes a simple reply; a read's bytes follow it.
func (c *conn) simple(br *bufio.Reader, code uint32, cookie uint64) error {
	r, err := c.lookup(cookie)
	if err != nil {
		return err
	}
	switch {
	case code != 0:
		r.fail(code, "")
	case r.cmd == cmdBlockStatus, r.cmd == cmdRead && c.info.Structured:
		return protocolError("simple reply to %s", cmdNames[r.cmd])
	case r.cmd == cmdRead:
		if _, err := io.ReadFull(br, r.dst); err != nil {
			return unexpected(err)
		}
	}
	c.finish(cookie, r)
	return nil
}

// fail keeps the first error of a request.
func (r *request) fail(code uint32, message string) {
	if r.err == nil {
		r.err = &Error{Op: cmdNames[r.cmd], Offset: r.off, Length: int64(r.length),
			Errno: errnoOf(code), Message: message}
	}
}

// chunk takes one chunk of a structured reply.
func (c *conn) chunk(br *bufio.Reader, flags, kind uint16, cookie uint64, length uint32) error {
	r, err := c.lookup(cookie)
	if err != nil {
		return err
	}
	if r.chunks++; r.chunks > maxChunks {
		return protocolError("reply in more than %d chunks", maxChunks)
	}
	switch {
	case kind == chunkNone && (length != 0 || flags&chunkDone == 0):
		return protocolError("empty chunk of %d bytes", length)
	case kind == chunkNone:
	case kind == chunkData && r.cmd == cmdRead:
		err = r.takeData(br, length)
	case kind == chunkHole && r.cmd == cmdRead:
		err = r.takeHole(br, length)
	case kind == chunkStatus && r.cmd == cmdBlockStatus:
		err = r.takeStatus(br, length, c.ids)
	case kind&chunkErrorBit != 0:
		err = r.takeError(br, kind, length)
	default:
		err = protocolError("chunk type %d in reply to %s", kind, cmdNames[r.cmd])
	}
	if err != nil || flags&chunkDone == 0 {
		return unexpected(err)
	}
	if r.err == nil && r.cmd == cmdRead && !r.filled.cover(int64(len(r.dst))) {
		return protocolError("read of %d bytes answered in part", len(r.dst))
	}
	c.finish(cookie, r)
	return nil
}

// place checks a range of a read reply and returns its part of dst.
func (r *request) place(off uint64, length uint32) ([]byte, error) {
	start := off - uint64(r.off)
	if off < uint64(r.off) || start > uint64(len(r.dst)) || uint64(length) > uint64(len(r.dst))-start || length == 0 {
		return nil, protocolError("read reply of %d bytes at %d to a request of %d at %d", length, off, len(r.dst), r.off)
	}
	if err := r.filled.add(int64(start), int64(start)+int64(length)); err != nil {
		return nil, err
	}
	return r.dst[start : start+uint64(length)], nil
}

func (r *request) takeData(br *bufio.Reader, length uint32) error {
	if length < 9 {
		return protocolError("data chunk of %d bytes", length)
	}
	var h [8]byte
	if _, err := io.ReadFull(br, h[:]); err != nil {
		return err
	}
	p, err := r.place(binary.BigEndian.Uint64(h[:]), length-8)
	if err != nil {
		return err
	}
	_, err = io.ReadFull(br, p)
	return err
}

func (r *request) takeHole(br *bufio.Reader, length uint32) error {
	if length != 12 {
		return protocolError("hole chunk of %d bytes", length)
	}
	var h [12]byte
	if _, err := io.ReadFull(br, h[:]); err != nil {
		return err
	}
	p, err := r.place(binary.BigEndian.Uint64(h[:]), binary.BigEndian.Uint32(h[8:]))
	if err != nil {
		return err
	}
	clear(p)
	return nil
}

// takeStatus reads the extents of one context. Extents beyond the request are
// cut (proto.md allows the last one to go further).
func (r *request) takeStatus(br *bufio.Reader, length uint32, ids map[uint32]string) error {
	if length < 12 || length > maxStatusLen+4 || length%8 != 4 {
		return protocolError("block status chunk of %d bytes", length)
	}
	var b [8]byte
	if _, err := io.ReadFull(br, b[:4]); err != nil {
		return err
	}
	name, ok := ids[binary.BigEndian.Uint32(b[:])]
	if !ok {
		return protocolError("block status of a context that was not negotiated")
	}
	if r.status[name] != nil {
		return protocolError("block status of context %q twice in one reply", name)
	}
	runs := make([]statusRun, 0, min(int(length-4)/8, 1024))
	left := int64(r.length)
	for range (length - 4) / 8 {
		if _, err := io.ReadFull(br, b[:]); err != nil {
			return err
		}
		n, flags := int64(binary.BigEndian.Uint32(b[:])), binary.BigEndian.Uint32(b[4:])
		if n == 0 {
			return protocolError("block status extent of no length")
		}
		if n = min(n, left); n > 0 {
			runs = append(runs, statusRun{n, flags})
			left -= n
		}
	}
	r.status[name] = runs
	return nil
}

func (r *request) takeError(br *bufio.Reader, kind uint16, length uint32) error {
	if length < 6 || length > maxErrorLen {
		return protocolError("error chunk of %d bytes", length)
	}
	b := make([]byte, length)
	if _, err := io.ReadFull(br, b); err != nil {
		return err
	}
	text := int(binary.BigEndian.Uint16(b[4:]))
	want := 6 + text
	if kind == chunkErrorOffset {
		want += 8
	}
	if (kind == chunkError || kind == chunkErrorOffset) && want != len(b) || want > len(b) {
		return protocolError("error chunk of %d bytes with %d of text", length, text)
	}
	code := binary.BigEndian.Uint32(b)
	if code == 0 {
		return protocolError("error chunk without an error")
	}
	r.fail(code, printable(b[6:6+text]))
	return nil
}

// spans is a set of ranges, ordered, merged where they touch.
type spans []span

type span struct{ start, end int64 }

// maxSpans bounds how scattered the chunks of one read may be.
const maxSpans = 4096

// add puts in [start, end), which must not overlap what is there.
func (s *spans) add(start, end int64) error {
	i := sort.Search(len(*s), func(i int) bool { return (*s)[i].end >= start })
	switch {
	case i == len(*s) || end < (*s)[i].start: // between
		if len(*s) == maxSpans {
			return protocolError("read reply in more than %d pieces", maxSpans)
		}
		*s = append(*s, span{})
		copy((*s)[i+1:], (*s)[i:])
		(*s)[i] = span{start, end}
		return nil
	case (*s)[i].end == start: // right after
		if i+1 < len(*s) && end > (*s)[i+1].start {
			return protocolError("read reply overlaps itself")
		}
		(*s)[i].end = end
		if i+1 < len(*s) && end == (*s)[i+1].start {
			(*s)[i].end = (*s)[i+1].end
			*s = append((*s)[:i+1], (*s)[i+2:]...)
		}
		return nil
	case end == (*s)[i].start: // right before
		(*s)[i].start = start
		return nil
	}
	return protocolError("read reply overlaps itself")
}

// cover says whether the set is exactly [0, n).
func (s spans) cover(n int64) bool {
	return len(s) == 1 && s[0] == span{0, n}
}
