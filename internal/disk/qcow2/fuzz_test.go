package qcow2

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"testing"

	"holdfast/internal/disk/disktest"
)

// memory is an image in memory.
type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

// seedImage is a small image of Create.
func seedImage(t testing.TB) []byte {
	d, path := create(t, 1<<20)
	p := make([]byte, 70_000)
	disktest.Fill(p, 1)
	if _, err := d.WriteAt(p, 200_000); err != nil {
		t.Fatal(err)
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// FuzzOpen opens any bytes as an image and reads it: errors are fine, a panic,
// a map with gaps or reads beyond the disk are not.
func FuzzOpen(f *testing.F) {
	b := seedImage(f)
	f.Add(b)
	for _, cut := range []int{0, 3, 71, 72, 104, 119, cluster, 3 * cluster} {
		f.Add(b[:cut])
	}
	small := []byte("QFI\xfb\x00\x00\x00\x02")
	small = append(small, make([]byte, 2048)...)
	binary.BigEndian.PutUint32(small[20:], 9)
	binary.BigEndian.PutUint64(small[24:], 4096)
	binary.BigEndian.PutUint32(small[36:], 1)
	binary.BigEndian.PutUint64(small[40:], 512)
	binary.BigEndian.PutUint64(small[512:], 1024)
	binary.BigEndian.PutUint64(small[1024:], 1536)
	binary.BigEndian.PutUint64(small[1032:], 1<<62|1600)
	f.Add(small)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := newSource(memory{bytes.NewReader(b)}, int64(len(b)))
		if err != nil {
			return
		}
		at := int64(0)
		n := 0
		for e, err := range s.Extents(context.Background()) {
			if err != nil {
				break
			}
			if e.Offset != at || e.Length <= 0 || e.End() > s.Size() {
				t.Fatalf("extent %+v at %d of %d", e, at, s.Size())
			}
			at = e.End()
			if n++; n > 1000 {
				break
			}
		}
		p := make([]byte, 3*s.header.ClusterSize()+7)
		for _, off := range []int64{0, 1000, s.Size() - int64(len(p)) + 3} {
			if n, err := s.ReadAt(p, max(off, 0)); n < len(p) && err == nil {
				t.Fatalf("read of %d at %d: %d without an error", len(p), off, n)
			}
		}
	})
}

// FuzzTarget runs a program of writes, zeroes and syncs, three bytes each: the
// image reads as the model.
func FuzzTarget(f *testing.F) {
	f.Add([]byte{0, 0, 9, 1, 3, 200, 2, 0, 0, 0, 60, 255, 1, 0, 255})
	f.Add([]byte{0, 255, 255, 1, 0, 255, 0, 1, 1, 2, 2, 2, 1, 1, 1, 0, 0, 255})
	f.Fuzz(func(t *testing.T, program []byte) {
		const size = 10*cluster + sectorBytes
		d, path := create(t, size)
		model := make([]byte, size)
		for i := 0; i+2 < len(program) && i < 300; i += 3 {
			off := int64(program[i+1]) * 2571 % size // strides that hit every kind of border
			n := min(int64(program[i+2])*1031+1, size-off)
			var err error
			switch program[i] % 3 {
			case 0:
				disktest.Fill(model[off:off+n], uint64(i))
				_, err = d.WriteAt(model[off:off+n], off)
			case 1:
				clear(model[off : off+n])
				err = d.Zero(off, n)
			case 2:
				err = d.Sync()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		disktest.Check(t, s, model, nil)
	})
}
