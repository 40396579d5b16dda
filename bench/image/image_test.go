package image

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestDirtyMapRoundTrip(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "map")
	want := []Extent{{0, Granularity}, {4 * Granularity, 3 * Granularity}}
	if err := writeDirtyMap(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := ReadDirtyMap(path)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("read %v, %v; want %v", got, err, want)
	}
	if total(got) != 4*Granularity {
		t.Fatalf("total = %d", total(got))
	}
}

func TestReadDirtyMapRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"order":   "{\"offset\":65536,\"length\":65536}\n{\"offset\":0,\"length\":65536}\n",
		"overlap": "{\"offset\":0,\"length\":131072}\n{\"offset\":65536,\"length\":65536}\n",
		"empty":   "{\"offset\":0,\"length\":0}\n",
		"cut off": "{\"offset\":0,\"len",
	} {
		path := filepath.Join(t.TempDir(), "map")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadDirtyMap(path); err == nil {
			t.Errorf("%s: accepted as %v", name, got)
		}
	}
}

func TestSavedDataApplies(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	before := bytes.Repeat([]byte("a"), 8*Granularity)
	after := bytes.Clone(before)
	list := []Extent{{Granularity, Granularity}, {5 * Granularity, 2 * Granularity}}
	for _, e := range list {
		copy(after[e.Offset:], bytes.Repeat([]byte("b"), int(e.Length)))
	}
	old, now, data := filepath.Join(dir, "old"), filepath.Join(dir, "now"), filepath.Join(dir, "data")
	for path, b := range map[string][]byte{old: before, now: after} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := saveData(now, data, list); err != nil {
		t.Fatal(err)
	}
	if err := applyData(data, old, list); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(old); err != nil || !bytes.Equal(got, after) {
		t.Fatalf("the old image with the day applied is not the new image (%v)", err)
	}
	if err := applyData(data, old, append(list, Extent{7 * Granularity, Granularity})); err == nil {
		t.Fatal("data shorter than its map was accepted")
	}
}

// The same seed makes the same files; another seed makes others.
func TestMakerFollowsItsSeed(t *testing.T) {
	t.Parallel()
	made := func(seed uint64) string {
		dir := t.TempDir()
		m := newMaker(seed, 1)
		if err := m.prose(filepath.Join(dir, "prose"), 10_000); err != nil {
			t.Fatal(err)
		}
		if err := m.table(filepath.Join(dir, "table"), 10_000); err != nil {
			t.Fatal(err)
		}
		if err := m.log(filepath.Join(dir, "log"), 10_000, epoch); err != nil {
			t.Fatal(err)
		}
		if err := m.photo(filepath.Join(dir, "photo")); err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		for _, name := range []string{"prose", "table", "log", "photo"} {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if len(b) < 10_000 || bytes.Count(b, []byte{0}) > len(b)/10 {
				t.Fatalf("%s: %d bytes, %d of them zero", name, len(b), bytes.Count(b, []byte{0}))
			}
			all.Write(b)
		}
		return all.String()
	}
	first := made(1)
	if made(1) != first {
		t.Error("the same seed made other bytes")
	}
	if made(2) == first {
		t.Error("another seed made the same bytes")
	}
}
