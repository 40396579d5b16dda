package links_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"holdfast/internal/keyring"
	"holdfast/internal/repository/links"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"
	"holdfast/internal/repository/tree"
)

func testKeys(n byte) *seal.Keys {
	return seal.NewKeys(&keyring.Ring{Repository: "r", ID: keyring.Secret{1}, Data: []keyring.DataKey{{Number: 1, Key: keyring.Secret{n}}}})
}

// known is a random set of nodes and the places of their children.
func known(rng *rand.Rand, n int) map[tree.Ref]map[tree.Ref]bool {
	all := map[tree.Ref]map[tree.Ref]bool{}
	for range n {
		kids := map[tree.Ref]bool{}
		at := tree.Ref{Pack: pack.ID{byte(rng.IntN(4))}, Ordinal: rng.Uint32N(1 << 24)}
		for range 1 + rng.IntN(tree.Fanout) {
			kids[at] = true
			if at.Ordinal++; at.Ordinal >= 1<<24 || rng.IntN(4) == 0 {
				at = tree.Ref{Pack: pack.ID{byte(rng.IntN(9))}, Ordinal: rng.Uint32N(1 << 20)}
			}
		}
		all[tree.Ref{Pack: pack.ID{100 + byte(rng.IntN(5))}, Ordinal: rng.Uint32N(1000)}] = kids
	}
	return all
}

func set(l *links.File, all map[tree.Ref]map[tree.Ref]bool) {
	for at, kids := range all {
		var places []tree.Ref
		for k := range kids {
			places = append(places, k, k) // each twice
		}
		l.Set(at, 1, places)
	}
}

// same counts the nodes that l knows, and fails if it is wrong about one.
func same(t *testing.T, l *links.File, all map[tree.Ref]map[tree.Ref]bool) (n int) {
	t.Helper()
	for at, want := range all {
		node, packs := l.Node(at)
		if node.Level == 0 {
			continue
		}
		n++
		got := map[tree.Ref]bool{}
		for _, r := range node.Runs {
			for i := range r.Count {
				got[tree.Ref{Pack: packs[r.Pack], Ordinal: r.First + i}] = true
			}
		}
		if len(got) != len(want) {
			t.Errorf("node %v has %d children, not %d", at, len(got), len(want))
		}
		for k := range want {
			if !got[k] {
				t.Errorf("node %v has no child %v", at, k)
			}
		}
	}
	return n
}

func all(pack.ID) bool { return true }

// What was set is answered, before and after it was written, in several parts,
// the newest counting; and a file of packs that died is written anew.
func TestFile(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 1))
	path := filepath.Join(t.TempDir(), "a", "links")
	want := map[tree.Ref]map[tree.Ref]bool{}
	for range 4 {
		l := links.Open(path, testKeys(1))
		if n := same(t, l, want); n != len(want) {
			t.Errorf("%d of %d nodes are known", n, len(want))
		}
		if links.Open(path, testKeys(1)) != nil {
			t.Error("a second one has the file too")
		}
		more := known(rng, 3000)
		set(l, more)
		for at, kids := range more {
			want[at] = kids
		}
		if n := same(t, l, want); n != len(want) {
			t.Errorf("%d of %d nodes are known", n, len(want))
		}
		if err := l.Close(all); err != nil {
			t.Error(err)
		}
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := links.Open(path, testKeys(1)).Close(func(id pack.ID) bool { return id[0] == 100 }); err != nil {
		t.Error(err)
	}
	after, err := os.Stat(path)
	if err != nil || after.Size() > before.Size()/3 || after.Mode().Perm() != 0o600 {
		t.Errorf("%d bytes, were %d: %v", after.Size(), before.Size(), err)
	}
	l := links.Open(path, testKeys(1))
	left := map[tree.Ref]map[tree.Ref]bool{}
	for at, kids := range want {
		if at.Pack[0] == 100 {
			left[at] = kids
		}
	}
	if n := same(t, l, want); n != len(left) {
		t.Errorf("%d nodes are known, not %d", n, len(left))
	}
	_ = l.Close(all)
}

// Damage, another key and nothing at all are as if nothing were known.
func TestDamagedFile(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(2, 2))
	dir := t.TempDir()
	path := filepath.Join(dir, "links")
	want := known(rng, 40)
	l := links.Open(path, testKeys(1))
	set(l, want)
	if err := l.Close(all); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	for i := range 600 {
		b := bytes.Clone(whole)
		if i%3 == 0 {
			b = b[:rng.IntN(len(b))]
		} else {
			b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		l := links.Open(path, testKeys(1))
		if same(t, l, want) < len(want) {
			lost++
		}
		set(l, want)
		if n := same(t, l, want); n != len(want) {
			t.Fatalf("%d of %d nodes are known again", n, len(want))
		}
		if err := l.Close(all); err != nil {
			t.Fatal(err)
		}
		l = links.Open(path, testKeys(1))
		if n := same(t, l, want); n != len(want) {
			t.Fatalf("%d of %d nodes are known after it was written again", n, len(want))
		}
		_ = l.Close(all)
	}
	if lost < 500 {
		t.Errorf("only %d of 600 damages were noticed", lost)
	}
	l = links.Open(path, testKeys(2))
	if n := same(t, l, want); n != 0 {
		t.Errorf("%d nodes are known under another key", n)
	}
	_ = l.Close(all)
	var none *links.File
	set(none, want)
	if n := same(t, none, want); n != 0 || none.Close(all) != nil {
		t.Error("no file knows something")
	}
}

// Decode and Encode are each other's inverse, and nothing that decodes says more
// than a node can have.
func FuzzDecode(f *testing.F) {
	rng := rand.New(rand.NewPCG(3, 3))
	for n := range 3 {
		s := links.NewSection()
		for at, kids := range known(rng, n*5) {
			var places []tree.Ref
			for k := range kids {
				places = append(places, k)
			}
			s.Set(at.Ordinal, 1+uint8(n), places)
		}
		f.Add(s.Encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := links.Decode(b)
		if err != nil {
			return
		}
		for o, n := range s.Nodes {
			sum := uint32(0)
			for _, r := range n.Runs {
				if sum += r.Count; int(r.Pack) >= len(s.Packs) || r.First+r.Count > 1<<24 {
					t.Errorf("node %d has run %+v of %d packs", o, r, len(s.Packs))
				}
			}
			if sum > tree.Fanout || sum == 0 || n.Level == 0 || n.Level > tree.MaxLevel {
				t.Errorf("node %d of level %d has %d children", o, n.Level, sum)
			}
		}
		again, err := links.Decode(s.Encode())
		if err != nil || !bytes.Equal(again.Encode(), s.Encode()) {
			t.Errorf("encode of decode does not decode to the same: %v", err)
		}
	})
}
