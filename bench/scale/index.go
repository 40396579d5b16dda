package scale

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/keyring"
	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/index"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"
)

const (
	blobsPerPack = 1200 // what a pack of 32 MiB holds at the usual ratio
	lookups      = 200_000
)

// bigIndex builds an index segment of 100 million chunks in a file and asks it
// for chunks that it has and chunks that it hasn't.
func bigIndex(_ context.Context, o Options, got func(Figure)) error {
	count := o.Chunks
	if count == 0 {
		count = 100_000_000
	}
	ring, err := keyring.NewRing("bench", rand.Reader)
	if err != nil {
		return err
	}
	keys := seal.NewKeys(ring)
	path := filepath.Join(o.Dir, "segment")
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	start := time.Now()
	if err := writeSegment(f, keys, count); err != nil {
		return err
	}
	got(Figure{Name: "index_build", Value: time.Since(start).Seconds(), Unit: "s"})
	st, err := f.Stat()
	if err != nil {
		return err
	}
	got(Figure{Name: "index_size_each", Value: float64(st.Size()) / float64(count), Unit: "bytes"})
	start = time.Now()
	r, err := index.Open(keys, index.ID{1}, f, st.Size())
	if err != nil {
		return err
	}
	got(Figure{Name: "index_open", Value: time.Since(start).Seconds(), Unit: "s"})
	got(Figure{Name: "index_memory_each", Value: float64(r.Memory()) / float64(count), Unit: "bytes"})
	return lookUp(r, count, got)
}

// entry is entry i of count: ids are spread evenly and are in order.
func entry(i, count uint64) (id chunk.ID) {
	binary.BigEndian.PutUint64(id[:], i*(^uint64(0)/count))
	rng := mathrand.NewPCG(7, i)
	binary.LittleEndian.PutUint64(id[8:], rng.Uint64())
	binary.LittleEndian.PutUint32(id[16:], uint32(rng.Uint64()))
	return id
}

func writeSegment(f *os.File, keys *seal.Keys, count uint64) error {
	packs := make([]index.PackInfo, (count+blobsPerPack-1)/blobsPerPack)
	for i := range packs {
		packs[i] = index.PackInfo{Blobs: blobsPerPack, Stored: 32 << 20, Kind: pack.Chunks}
		binary.BigEndian.PutUint64(packs[i].ID[:], uint64(i)+1)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	b, err := index.NewBuilder(w, keys, index.ID{1}, count, packs)
	if err != nil {
		return err
	}
	for i := range count {
		// Chunks that are neighbours on a disk are not neighbours by id.
		p := packs[i*2654435761%uint64(len(packs))].ID
		if err := b.Add(index.Entry{ID: entry(i, count), Pack: p, Ordinal: uint32(i % blobsPerPack)}); err != nil {
			return err
		}
	}
	if err := b.Finish(); err != nil {
		return err
	}
	return w.Flush()
}

// lookUp measures hits, which read a page, and misses, which the filter
// answers: a backup of new data makes misses only.
func lookUp(r *index.Reader, count uint64, got func(Figure)) error {
	rng := mathrand.New(mathrand.NewPCG(3, 5))
	yes := func(pack.ID, uint32) bool { return true }
	rate := func(name string, want bool, id func() chunk.ID) error {
		wrong := 0
		start := time.Now()
		for range lookups {
			found, err := r.Lookup(id(), yes)
			if err != nil {
				return err
			}
			if found != want {
				wrong++
			}
		}
		if wrong > 0 {
			return fmt.Errorf("%s: %d of %d lookups answer wrongly", name, wrong, lookups)
		}
		got(Figure{Name: name, Value: time.Since(start).Seconds() / lookups * 1e6, Unit: "us"})
		return nil
	}
	if err := rate("index_lookup_hit", true, func() chunk.ID { return entry(rng.Uint64N(count), count) }); err != nil {
		return err
	}
	return rate("index_lookup_miss", false, func() (id chunk.ID) {
		binary.LittleEndian.PutUint64(id[:], rng.Uint64())
		binary.LittleEndian.PutUint64(id[8:], rng.Uint64())
		binary.LittleEndian.PutUint32(id[16:], rng.Uint32())
		return id
	})
}
