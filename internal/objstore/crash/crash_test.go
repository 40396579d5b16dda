package crash_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/crash"
	"holdfast/internal/objstore/local"
	"holdfast/internal/objstore/objstoretest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	objstoretest.Run(t, func(t *testing.T) objstore.Store { return open(t, crash.NewDisk()) })
}

func open(t *testing.T, d *crash.Disk) *local.Store {
	t.Helper()
	s, err := crash.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// history is what a client of the store knows: of each name whether its last
// verb has returned, and what it then promised.
type history struct {
	there  map[string][]byte // Put returned nil
	gone   map[string]bool   // Delete returned nil
	unsure map[string][]byte // a verb is under way
}

// The real local store keeps its promises when the power goes at any step, when
// the process dies at any step, and when the power goes after that.
func TestLocalStoreSurvives(t *testing.T) {
	t.Parallel()
	points, histories := 0, uint64(20)
	if os.Getenv("HOLDFAST_SOAK") == "1" {
		histories = 5000
	}
	for seed := range histories {
		rng := rand.New(rand.NewPCG(seed, 1))
		disk := crash.NewDisk()
		h := history{map[string][]byte{}, map[string]bool{}, map[string][]byte{}}
		inspect := func(crash.Step) error {
			points += 3
			h.check(t, seed, disk.PowerLoss(nil), "all un-synced lost")
			h.check(t, seed, disk.PowerLoss(rng), "some un-synced lost")
			h.checkKilled(t, seed, disk.Kill(), rng)
			return nil
		}
		disk.Before(inspect)
		s := open(t, disk)
		for range 12 {
			h.act(t, s, rng)
		}
		inspect(crash.Step{})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d crash points", points)
}

// act puts or deletes a random object.
func (h *history) act(t *testing.T, s *local.Store, rng *rand.Rand) {
	name := fmt.Sprintf("%c/%c", 'a'+rng.IntN(2), 'a'+rng.IntN(3))
	if data, ok := h.there[name]; ok {
		delete(h.there, name)
		h.unsure[name] = data
		if err := s.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		delete(h.unsure, name)
		h.gone[name] = true
		return
	}
	data := make([]byte, rng.IntN(30_000))
	for i := range data {
		data[i] = byte(i*7 + 1)
	}
	delete(h.gone, name)
	h.unsure[name] = data
	if err := s.Put(t.Context(), name, bytes.NewReader(data), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	delete(h.unsure, name)
	h.there[name] = data
}

// check opens the store on what is left and compares it with the history.
func (h *history) check(t *testing.T, seed uint64, left *crash.Disk, how string) map[string]bool {
	s := open(t, left)
	seen := map[string]bool{}
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		seen[info.Name] = true
		want, sure := h.there[info.Name]
		if !sure {
			want, sure = h.unsure[info.Name]
		}
		if !sure {
			t.Errorf("seed %d, %s: %q is there again", seed, how, info.Name)
		}
		if got := content(t, s, info.Name); !bytes.Equal(got, want) {
			t.Errorf("seed %d, %s: %q has %d bytes, want %d or other ones", seed, how, info.Name, len(got), len(want))
		}
	}
	for name := range h.there {
		if !seen[name] {
			t.Errorf("seed %d, %s: %q is lost", seed, how, name)
		}
	}
	if left, _ := left.FS().ReadDir("+tmp"); len(left) > 0 {
		t.Errorf("seed %d, %s: %d temporary files left", seed, how, len(left))
	}
	h.worksOn(t, s, how)
	return seen
}

// worksOn repeats the verb that was cut.
func (h *history) worksOn(t *testing.T, s *local.Store, how string) {
	for name, data := range h.unsure {
		err := s.Put(t.Context(), name, bytes.NewReader(data), objstore.PutOptions{})
		if err != nil && !errors.Is(err, objstore.ErrExist) {
			t.Errorf("%s: put %q again: %v", how, name, err)
		}
		if got := content(t, s, name); !bytes.Equal(got, data) {
			t.Errorf("%s: %q put again has %d bytes, want %d", how, name, len(got), len(data))
		}
	}
}

// checkKilled lets the process die and another open the store: what that one
// sees must be there also if the power goes right after.
func (h *history) checkKilled(t *testing.T, seed uint64, left *crash.Disk, rng *rand.Rand) {
	s := open(t, left)
	var names []string
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, info.Name)
	}
	seen := h.check(t, seed, left.PowerLoss(rng), "killed, opened, then power lost")
	for _, name := range names {
		if !seen[name] {
			t.Errorf("seed %d: %q was seen after a kill and is lost after the next power loss", seed, name)
		}
	}
	h.check(t, seed, left, "killed")
}

func content(t *testing.T, s objstore.Store, name string) []byte {
	r, err := s.Get(t.Context(), name, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Every step of a put can fail: the store says so and is as before, and goes on.
func TestStepFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken on purpose")
	for n := 1; ; n++ {
		disk := crash.NewDisk()
		s := open(t, disk)
		failed := false
		disk.Before(func(st crash.Step) error {
			if st.N == n {
				failed = true
				return broken
			}
			return nil
		})
		err := s.Put(t.Context(), "a/b", bytes.NewReader([]byte("data")), objstore.PutOptions{})
		if !failed {
			if n < 8 {
				t.Fatalf("only %d steps", n-1)
			}
			return
		}
		if err != nil && !errors.Is(err, broken) {
			t.Fatalf("step %d: %v", n, err)
		}
		again := s.Put(t.Context(), "a/b", bytes.NewReader([]byte("data")), objstore.PutOptions{})
		if again != nil && !errors.Is(again, objstore.ErrExist) {
			t.Fatalf("step %d: put again: %v", n, again)
		}
		if got := content(t, s, "a/b"); string(got) != "data" {
			t.Fatalf("step %d: %q", n, got)
		}
		if _, err := open(t, disk.PowerLoss(nil)).Stat(t.Context(), "a/b"); err != nil {
			t.Fatalf("step %d: put again, then power lost: %v", n, err)
		}
	}
}

func TestCrashAt(t *testing.T) {
	t.Parallel()
	disk := crash.NewDisk()
	s := open(t, disk)
	disk.CrashAt(3)
	err := s.Put(t.Context(), "a", bytes.NewReader([]byte("data")), objstore.PutOptions{})
	if !errors.Is(err, crash.ErrCrashed) || !disk.Crashed() || disk.Steps() != 3 {
		t.Fatalf("%v after %d steps", err, disk.Steps())
	}
	if _, err := s.Stat(context.Background(), "a"); !errors.Is(err, crash.ErrCrashed) {
		t.Fatalf("a dead process goes on: %v", err)
	}
	if _, err := open(t, disk.Kill()).Stat(t.Context(), "a"); !errors.Is(err, objstore.ErrNotExist) {
		t.Fatal(err)
	}
}
