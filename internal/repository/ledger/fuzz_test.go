package ledger

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"holdfast/internal/repository/index"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/tree"
)

// records are one of each kind.
func records() []*Record {
	at := time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC)
	root := &tree.Ref{ID: [20]byte{1}, Pack: pack.ID{2}, Ordinal: 3}
	p := Point{ID: "p", Series: "s", Session: Session{4}, Created: at, Time: at, Disks: []Disk{{Name: "vda", Size: 1 << 30, Level: 3, Root: root}, {Name: "zero"}}}
	one := []Blobs{{Pack: pack.ID{5}, Ordinals: []uint32{1, 7}}, {Pack: pack.ID{6}}}
	all := []*Record{
		{Op: Begin, Session: Session{4}, Kind: Writer, Series: "s", Owner: "o", Instance: "i"},
		{Op: Index, Session: Session{4}, Add: []index.ID{{1}}},
		{Op: Commit, Session: Session{4}, Add: []index.ID{{2}}, Point: &p},
		{Op: End, Session: Session{4}},
		{Op: Fence, Session: Session{4}, By: Session{5}},
		{Op: Delete, Points: []string{"p", "q"}},
		{Op: Condemn, Session: Session{4}, Packs: []pack.ID{{1}, {2}}, Seen: 9},
		{Op: Sweep, Session: Session{4}, Packs: []pack.ID{{1}}, Keep: []pack.ID{{2}}},
		{Op: Forget, Session: Session{4}, Packs: []pack.ID{{1}}, Drop: []index.ID{{1}}},
		{Op: Damage, Blobs: one, Healed: one},
		{Op: Lost, Lost: 3, Adopt: []Point{p}},
		{Op: Retain, Retention: &Seconds{90 * time.Second}, Until: at},
	}
	for i, r := range all {
		r.Seq, r.Prev, r.Nonce, r.Time = uint64(i+1), "ab", "cd", at
	}
	return all
}

// canonical is what v encodes to; it must decode to what encodes to the same.
func canonical[T any](t *testing.T, v *T) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("what was decoded does not encode: %v", err)
	}
	again := new(T)
	if err := json.Unmarshal(b, again); err != nil {
		t.Fatalf("what was encoded does not decode: %v\n%s", err, b)
	}
	c, err := json.Marshal(again)
	if err != nil || string(c) != string(b) {
		t.Fatalf("encode of decode of encode differs: %v\n%s\n%s", err, b, c)
	}
	return b
}

// Decode and encode of a record are each other's inverse, and no record, whatever
// it says, is folded into a state by a panic or against the rules.
func FuzzRecord(f *testing.F) {
	for _, r := range records() {
		b, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"op":"condemn","packs":["00000000000000000000000000000000"],"session":"040000000000000000000000"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &Record{}
		if json.Unmarshal(b, r) != nil {
			return
		}
		canonical(t, r)
		s := NewState()
		s.Sessions = []OpenSession{{Session: Session{4}, Kind: Collector}}
		s.Dead[pack.ID{1}] = DeadPack{Condemned: 1}
		s.Damaged[pack.ID{5}] = []uint32{1}
		s.Seq = r.Seq - 1
		before := s.Clone()
		if s.Apply(r, "sum") != nil {
			return
		}
		if s.Seq != r.Seq || s.Sum != "sum" {
			t.Errorf("state %d after record %d", s.Seq, r.Seq)
		}
		if r.Op != Lost && r.Op != End && r.Op != Fence && r.Op != Commit && len(s.Sessions) < len(before.Sessions) {
			t.Errorf("%s ended a session", r.Op)
		}
		canonical(t, s)
	})
}

// Decode and encode of a folded state are each other's inverse.
func FuzzState(f *testing.F) {
	s := NewState()
	for _, r := range records() {
		r.Seq, r.Prev = s.Seq+1, s.Sum
		_ = s.Apply(r, "sum") // some do not follow each other
		b, err := json.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := NewState()
		if json.Unmarshal(b, s) != nil {
			return
		}
		canonical(t, s)
		c := s.Clone()
		if string(canonical(t, c)) != string(canonical(t, s)) {
			t.Error("a clone differs")
		}
	})
}

// Of any two writers that put a record at one number, the state that follows is
// the same whoever reads it: folding is a function.
func TestFoldIsAFunction(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 1))
	all := records()
	for range 2000 {
		a, b := NewState(), NewState()
		for range 20 {
			r := *all[rng.IntN(len(all))]
			r.Seq, r.Prev = a.Seq+1, a.Sum
			text := canonical(t, &r)
			read := &Record{}
			if err := json.Unmarshal(text, read); err != nil {
				t.Fatal(err)
			}
			errA, errB := a.Apply(&r, "s"), b.Apply(read, "s")
			if (errA == nil) != (errB == nil) || string(canonical(t, a)) != string(canonical(t, b)) {
				t.Fatalf("%v, %v after %s", errA, errB, text)
			}
		}
	}
}
