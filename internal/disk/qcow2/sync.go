package qcow2

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Sync makes a whole image of what was written, durably: reference counts,
// tables and file length first, then the header.
func (t *Target) Sync() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"reference counts", t.writeCounts},
		{"L1 table", t.writeL1},
		{"file length", func() error { return t.f.Truncate(t.next * cluster) }},
		{"sync", t.f.Sync},
		{"header", t.writeHeader},
		{"sync", t.f.Sync},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("qcow2: %s: %w", step.name, err)
		}
	}
	return nil
}

// writeCounts counts every cluster given out since the last time once, and
// enters the blocks in the table. Zero bytes are as good as unwritten ones.
func (t *Target) writeCounts() error {
	ones := bytes.Repeat([]byte{0, 1}, perBlock)
	for at := t.synced; at < t.next; {
		block, i := at/perBlock, at%perBlock
		n := min(perBlock-i, t.next-at)
		if _, err := t.f.WriteAt(ones[:2*n], t.block(block)+2*i); err != nil {
			return err
		}
		at += n
	}
	blocks := ceil(t.next, perBlock)
	raw := make([]byte, 8*blocks)
	for i := range blocks {
		binary.BigEndian.PutUint64(raw[8*i:], uint64(t.block(i)))
	}
	if _, err := t.f.WriteAt(raw, t.front.refTable*cluster); err != nil {
		return err
	}
	t.synced = t.next
	return nil
}

// block is where reference count block i is in the file.
func (t *Target) block(i int64) int64 {
	if i == 0 {
		return t.front.block0 * cluster
	}
	return i * perBlock * cluster
}

func (t *Target) writeL1() error {
	raw := make([]byte, 8*len(t.l1))
	for i, host := range t.l1 {
		if host != 0 {
			binary.BigEndian.PutUint64(raw[8*i:], uint64(host)|flagCopied)
		}
	}
	_, err := t.f.WriteAt(raw, t.front.l1*cluster)
	return err
}

// writeHeader writes a version 3 header without extensions: reference counts
// of 16 bits, no features.
func (t *Target) writeHeader() error {
	var b [120]byte
	be := binary.BigEndian
	be.PutUint32(b[0:], magic)
	be.PutUint32(b[4:], 3)
	be.PutUint32(b[20:], clusterBits)
	be.PutUint64(b[24:], uint64(t.size))
	be.PutUint32(b[36:], uint32(len(t.l1)))
	be.PutUint64(b[40:], uint64(t.front.l1*cluster))
	be.PutUint64(b[48:], uint64(t.front.refTable*cluster))
	be.PutUint32(b[56:], uint32(t.front.refTableLen))
	be.PutUint32(b[96:], 4)    // reference counts of 1<<4 bits
	be.PutUint32(b[100:], 112) // header length; 8 zero bytes end the extensions
	_, err := t.f.WriteAt(b[:], 0)
	return err
}
