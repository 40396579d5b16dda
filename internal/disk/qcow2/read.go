package qcow2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// batch is how many L2 entries are read at once.
const batch = 512

// ReadAt reads as io.ReaderAt. Clusters that lie in a row in the file are
// read at once.
func (s *Source) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("qcow2: read at %d", off)
	}
	if off >= s.Size() {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	var eof error
	if int64(len(p)) > s.Size()-off {
		p, eof = p[:s.Size()-off], io.EOF
	}
	size := s.header.ClusterSize()
	perL2 := size / 8
	var buf [8 * batch]byte
	done := 0
	for done < len(p) {
		at := off + int64(done)
		first := at / size
		last := (off + int64(len(p)) - 1) / size
		n := min(last-first+1, batch, perL2-first%perL2)
		raw, err := s.entries(first, n, buf[:])
		if err != nil {
			return done, err
		}
		part := p[done:]
		if whole := (first+n)*size - at; int64(len(part)) > whole {
			part = part[:whole]
		}
		k, err := s.readClusters(part, at%size, raw)
		done += k
		if err != nil {
			return done, err
		}
	}
	return done, eof
}

// readClusters fills p, which starts skip bytes into the first of the clusters
// whose entries are raw.
func (s *Source) readClusters(p []byte, skip int64, raw []byte) (int, error) {
	size, done := s.header.ClusterSize(), 0
	for i := 0; done < len(p); {
		e, err := s.decode(binary.BigEndian.Uint64(raw[8*i:]))
		if err != nil {
			return done, err
		}
		run := 1
		n := size - skip
		for e.kind == plain && n < int64(len(p)-done) && 8*(i+run) < len(raw) {
			next, err := s.decode(binary.BigEndian.Uint64(raw[8*(i+run):]))
			if err != nil || next.kind != plain || next.offset != e.offset+int64(run)*size {
				break // an error is met again at its turn
			}
			run++
			n += size
		}
		part := p[done:min(int64(len(p)), int64(done)+n)]
		if err := s.readRun(part, e, skip); err != nil {
			return done, err
		}
		done += len(part)
		i += run
		skip = 0
	}
	return done, nil
}

// readRun fills p from a run of plain clusters, or one of another kind.
func (s *Source) readRun(p []byte, e entry, skip int64) error {
	switch e.kind {
	case absent:
		clear(p)
		return nil
	case packed:
		return s.readPacked(p, e, skip)
	}
	n, err := s.f.ReadAt(p, e.offset+skip)
	if n == len(p) {
		return nil
	}
	if err == io.EOF && e.offset+skip+int64(n) >= s.fileSize {
		clear(p[n:]) // the file's last cluster need not be whole
		return nil
	}
	return fmt.Errorf("qcow2: read cluster at %d: %w", e.offset, err)
}

// readPacked unpacks one compressed cluster and takes p from it.
func (s *Source) readPacked(p []byte, e entry, skip int64) error {
	if int64(len(p)) == s.header.ClusterSize() {
		return s.unpack(p, e)
	}
	if s.cache.copy(p, e.offset, skip) {
		return nil
	}
	whole := make([]byte, s.header.ClusterSize())
	if err := s.unpack(whole, e); err != nil {
		return err
	}
	copy(p, whole[skip:])
	s.cache.put(e.offset, whole)
	return nil
}

// unpack fills out, a whole cluster, from a compressed one.
func (s *Source) unpack(out []byte, e entry) error {
	in := make([]byte, e.length)
	if n, err := s.f.ReadAt(in, e.offset); n < len(in) {
		return fmt.Errorf("qcow2: read compressed cluster at %d: %w", e.offset, err)
	}
	var err error
	if s.header.Compression == compressionZstd {
		err = unpackZstd(out, in)
	} else {
		err = unpackZlib(out, in)
	}
	if err != nil {
		return fmt.Errorf("%w: compressed cluster at %d: %w", ErrCorrupt, e.offset, err)
	}
	return nil
}

// unpacked keeps the compressed clusters that were last read in part, so that
// one who reads on in small steps unpacks each once. At most 16 MiB.
type unpacked struct {
	mu    sync.Mutex
	slots [8]struct {
		offset int64 // host; 0 is empty
		data   []byte
	}
	next int
}

// copy takes p from a cluster that is kept.
func (u *unpacked) copy(p []byte, offset, skip int64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range u.slots {
		if u.slots[i].offset == offset {
			copy(p, u.slots[i].data[skip:])
			return true
		}
	}
	return false
}

func (u *unpacked) put(offset int64, data []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	slot := &u.slots[u.next%len(u.slots)]
	slot.offset, slot.data = offset, data
	u.next++
}

var flaters = sync.Pool{New: func() any { return flate.NewReader(nil) }}

// unpackZlib fills out from a raw deflate stream; what follows it in the last
// sector does not matter.
func unpackZlib(out, in []byte) error {
	r := flaters.Get().(io.ReadCloser)
	defer flaters.Put(r)
	if err := r.(flate.Resetter).Reset(bytes.NewReader(in), nil); err != nil {
		return err
	}
	_, err := io.ReadFull(r, out)
	return err
}

var zstds = sync.Pool{New: func() any {
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(64<<20))
	if err != nil {
		panic(err) // options are constants
	}
	return r
}}

// unpackZstd fills out from a zstd frame, likewise.
func unpackZstd(out, in []byte) error {
	r := zstds.Get().(*zstd.Decoder)
	defer zstds.Put(r)
	if err := r.Reset(bytes.NewReader(in)); err != nil {
		return err
	}
	_, err := io.ReadFull(r, out)
	return err
}
