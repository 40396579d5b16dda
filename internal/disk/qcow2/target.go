package qcow2

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"holdfast/internal/disk"
)

// Geometry of the images that Create makes.
const (
	clusterBits = 16
	cluster     = 1 << clusterBits   // bytes
	perTable    = cluster / 8        // entries of an L1 or L2 table cluster
	tableBytes  = cluster * perTable // bytes of disk under one L2 table: 512 MiB
	perBlock    = cluster / 2        // 16-bit reference counts of one block: 2 GiB of file

	// MaxSize is the largest disk that Create makes, bytes: its L1 table and
	// its reference counts stay inside QEMU's limits.
	MaxSize = 1 << 49 // 512 TiB
)

// Target is a fresh image being filled, as a disk.Target.
//
// Clusters are given out in the order in which they are asked for, each once,
// from the end of the file. The tables of the map live in the file (the page
// cache is their cache), so that memory does not grow with the disk. The
// header is written by the first Sync, after all that it points to is durable:
// before that the file is no image.
//
// The file, in clusters: header, reference count table, L1 table, reference
// count block 0, then data and L2 tables as they come. Reference count block i
// > 0 is cluster i*32768 of the file, the first that it counts.
type Target struct {
	f      *os.File
	size   int64
	cloned bool // it was not empty at the start

	mu     sync.Mutex // guards what follows, and the L2 tables in the file
	l1     []int64    // host offset of each L2 table; 0 is none
	next   int64      // first cluster never given out
	front  layout
	synced int64 // clusters whose reference counts are in the file
}

// layout is where the tables of an image are, in clusters.
type layout struct {
	refTable, refTableLen int64
	l1, l1Len             int64
	block0                int64
}

func layoutOf(size int64) layout {
	tables := ceil(size, tableBytes)
	l1Len := max(ceil(tables, perTable), 1)
	most := ceil(size, cluster) + tables + l1Len // before reference counts
	blocks := ceil(most, perBlock-1) + 2
	refLen := ceil(blocks, perTable)
	return layout{refTable: 1, refTableLen: refLen, l1: 1 + refLen, l1Len: l1Len, block0: 1 + refLen + l1Len}
}

func ceil(n, d int64) int64 { return (n + d - 1) / d }

// Create makes a fresh image of an empty regular file that is open for reading
// and writing. size is in bytes and rounded up to a multiple of 512, as QEMU
// has it. The Target owns the file from then on.
func Create(f *os.File, size int64) (*Target, error) {
	if size < 0 || size > MaxSize {
		return nil, fmt.Errorf("qcow2: size %d is not between 0 and %d", size, int64(MaxSize))
	}
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() != 0 {
		return nil, fmt.Errorf("%s: not an empty regular file", f.Name())
	}
	size = ceil(size, sectorBytes) * sectorBytes
	front := layoutOf(size)
	return &Target{f: f, size: size, front: front, next: front.block0 + 1,
		l1: make([]int64, ceil(size, tableBytes))}, nil
}

// Size of the disk, bytes.
func (t *Target) Size() int64 { return t.size }

// Fresh says that the disk was empty at the start: it is no clone.
func (t *Target) Fresh() bool { return !t.cloned }

// Close closes the file without syncing it.
func (t *Target) Close() error { return t.f.Close() }

// check keeps writers inside the disk.
func (t *Target) check(off, n int64) error {
	if off < 0 || n > t.size || off > t.size-n || n < 0 {
		return fmt.Errorf("qcow2: %d bytes at %d are outside the disk of %d", n, off, t.size)
	}
	return nil
}

// WriteAt writes p at off.
func (t *Target) WriteAt(p []byte, off int64) (int, error) {
	if err := t.check(off, int64(len(p))); err != nil {
		return 0, err
	}
	done := 0
	for done < len(p) {
		at := off + int64(done)
		n := min(int64(len(p)-done), tableBytes-at%tableBytes)
		k, err := t.writeTable(p[done:done+int(n)], at)
		done += k
		if err != nil {
			return done, fmt.Errorf("qcow2: write %d bytes at %d: %w", n, at, err)
		}
	}
	return done, nil
}

// writeTable writes p, which lies under one L2 table.
func (t *Target) writeTable(p []byte, off int64) (int, error) {
	hosts, err := t.mapped(off, int64(len(p)))
	if err != nil {
		return 0, err
	}
	done, skip := int64(0), off%cluster
	for i := 0; i < len(hosts); {
		run := 1
		for i+run < len(hosts) && hosts[i+run] == hosts[i]+int64(run)*cluster {
			run++
		}
		n := min(int64(run)*cluster-skip, int64(len(p))-done)
		k, err := t.f.WriteAt(p[done:done+n], hosts[i]+skip)
		done += int64(k)
		if err != nil {
			return int(done), err
		}
		i += run
		skip = 0
	}
	return int(done), nil
}

// mapped returns the host offset of every cluster of a range under one L2
// table, giving out those that are missing and taking zero flags away. A
// cluster that was just given out reads as zeroes: it lies beyond what was
// ever written.
func (t *Target) mapped(off, n int64) ([]int64, error) {
	first := off / cluster
	hosts := make([]int64, (off+n-1)/cluster-first+1)
	t.mu.Lock()
	defer t.mu.Unlock()
	table, err := t.table(off)
	if err != nil {
		return nil, err
	}
	raw := make([]byte, 8*len(hosts))
	at := table + first%perTable*8
	if _, err := t.f.ReadAt(raw, at); err != nil {
		return nil, fmt.Errorf("read L2 table: %w", err)
	}
	changed := false
	for i := range hosts {
		e := binary.BigEndian.Uint64(raw[8*i:])
		if e == 0 {
			e = uint64(t.allocate()) | flagCopied
		}
		hosts[i] = int64(e & offsetMask)
		if want := uint64(hosts[i]) | flagCopied; want != binary.BigEndian.Uint64(raw[8*i:]) {
			binary.BigEndian.PutUint64(raw[8*i:], want)
			changed = true
		}
	}
	if changed {
		if _, err := t.f.WriteAt(raw, at); err != nil {
			return nil, fmt.Errorf("write L2 table: %w", err)
		}
	}
	return hosts, nil
}

// table is the L2 table over off, made where there is none. The caller holds
// t.mu.
func (t *Target) table(off int64) (int64, error) {
	i := off / tableBytes
	if t.l1[i] != 0 {
		return t.l1[i], nil
	}
	host := t.allocate()
	if err := t.f.Truncate(host + cluster); err != nil { // reads as zeroes: nothing mapped
		return 0, fmt.Errorf("make L2 table: %w", err)
	}
	t.l1[i] = host
	return host, nil
}

// allocate gives out the next cluster. The caller holds t.mu.
func (t *Target) allocate() int64 {
	if t.next%perBlock == 0 {
		t.next++ // a reference count block
	}
	host := t.next * cluster
	t.next++
	return host
}

// Zero makes a range read as zeroes. Clusters that have never been written
// stay as they are; whole ones that have been are marked and their space is
// freed.
func (t *Target) Zero(off, length int64) error {
	if err := t.check(off, length); err != nil {
		return err
	}
	for end := off + length; off < end; {
		n := min(end-off, tableBytes-off%tableBytes)
		if err := t.zeroTable(off, n); err != nil {
			return fmt.Errorf("qcow2: zero %d bytes at %d: %w", n, off, err)
		}
		off += n
	}
	return nil
}

// zeroTable zeroes a range under one L2 table.
func (t *Target) zeroTable(off, n int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	table := t.l1[off/tableBytes]
	if table == 0 {
		return nil
	}
	first, end := off/cluster, off+n
	raw := make([]byte, 8*((end-1)/cluster-first+1))
	at := table + first%perTable*8
	if _, err := t.f.ReadAt(raw, at); err != nil {
		return fmt.Errorf("read L2 table: %w", err)
	}
	for i := range int64(len(raw) / 8) {
		e := binary.BigEndian.Uint64(raw[8*i:])
		if e == 0 || e&flagZero != 0 {
			continue
		}
		start := (first + i) * cluster
		from, to := max(off, start), min(end, start+cluster)
		if err := t.punch(int64(e&offsetMask)+from-start, to-from); err != nil {
			return err
		}
		if from == start && (to == start+cluster || to == t.size) {
			binary.BigEndian.PutUint64(raw[8*i:], e|flagZero)
		}
	}
	_, err := t.f.WriteAt(raw, at)
	return err
}

var zeroes [cluster]byte

// punch zeroes a part of a cluster in the file.
func (t *Target) punch(host, n int64) error {
	err := unix.Fallocate(int(t.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, host, n)
	if err == nil {
		return nil
	}
	_, err = t.f.WriteAt(zeroes[:n], host)
	return err
}

var _ disk.Target = (*Target)(nil)
