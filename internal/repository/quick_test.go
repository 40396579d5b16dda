package repository_test

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"holdfast/internal/objstore/mem"
	"holdfast/internal/repository"
	"holdfast/internal/repository/seal"
)

// What a quick repository holds is right, and goes into another that all readers
// of its format can read: taken over as it is where they know how it is
// compressed, compressed again where they don't.
func TestQuick(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(71, 71))
	data := make([]byte, 64*chunkSize)
	for i := range 64 {
		ownChunk(rng, data[i*chunkSize:][:chunkSize])
	}
	quick := mem.New(mem.Options{})
	from, err := repository.Init(t.Context(), quick, testKey, repository.Options{Quick: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = from.Close() })
	mustRestore(t, from, mustBackup(t, from, "p", "s", nil, &memDisk{data: data}), data)
	if codecs(t, quick)[2] == 0 {
		t.Errorf("codecs of a quick repository: %v", codecs(t, quick))
	}
	for format, store := range map[int]*mem.Store{1: golden(t, 1), 2: golden(t, 2)} {
		before := codecs(t, store)
		to := openRepo(t, store, repository.Options{Quick: true})
		p, err := repository.Copy(t.Context(), from, to, "p", repository.CopyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		mustRestore(t, to, p, data)
		after := codecs(t, store)
		if again, taken := to.Compressed() > 0, after[2] > before[2]; again != (format == 1) || taken != (format == 2) {
			t.Errorf("format %d: %d frames compressed again; codecs %v, before %v", format, to.Compressed(), after, before)
		}
		own := bytes.Clone(data)
		ownChunk(rng, own)
		mustRestore(t, to, mustBackup(t, to, "own", "s", nil, &memDisk{data: own}), own)
		if format == 1 && codecs(t, store)[2] > 0 {
			t.Errorf("a quick writer of format 1: codecs %v", codecs(t, store))
		}
	}
}

// codecs counts the frames of a store's packs by how they are compressed.
func codecs(t *testing.T, store *mem.Store) map[uint8]int {
	t.Helper()
	counts := map[uint8]int{}
	for name := range objects(t, store) {
		if !strings.HasPrefix(name, "packs/") {
			continue
		}
		raw := fetch(t, store, name)
		for at := bytes.Index(raw, []byte("HFFR")); at >= 0; {
			if h, err := seal.ParseFrameHeader(raw[at:]); err == nil {
				counts[h.Codec]++
			}
			next := bytes.Index(raw[at+1:], []byte("HFFR"))
			if next < 0 {
				break
			}
			at += 1 + next
		}
	}
	return counts
}
