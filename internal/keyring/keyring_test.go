package keyring

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newRing(t testing.TB) *Ring {
	t.Helper()
	r, err := NewRing("repo", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Each kind of key opens what it wrapped, and another of its kind doesn't.
func TestWrapUnlock(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	for name, pair := range map[string][2]Key{
		"passphrase": {WeakPassphrase("right"), WeakPassphrase("wrong")},
		"file":       {Raw(Secret{1}), Raw(Secret{2})},
		"kms":        {localKMS(t, 1), localKMS(t, 2)},
	} {
		slot, err := Wrap(t.Context(), ring, pair[0], "label", time.Unix(5, 0))
		if err != nil {
			t.Fatal(err)
		}
		got, opened, err := Unlock(t.Context(), pair[0], []Slot{slot})
		if err != nil || got.ID != ring.ID || got.Newest() != ring.Newest() || opened.ID != slot.ID {
			t.Errorf("%s: %v", name, err)
		}
		if _, _, err := Unlock(t.Context(), pair[1], []Slot{slot}); !errors.Is(err, ErrWrongKey) {
			t.Errorf("%s: wrong key: %v", name, err)
		}
		b, err := json.Marshal(slot)
		if err != nil || bytes.Contains(b, []byte("right")) {
			t.Errorf("%s: slot %s, %v", name, b, err)
		}
		slot.ID = "00000000"
		if _, _, err := Unlock(t.Context(), pair[0], []Slot{slot}); !errors.Is(err, ErrWrongKey) {
			t.Errorf("%s: a slot under another id: %v", name, err)
		}
	}
}

// One ring has several slots; each key finds its own.
func TestSeveralSlots(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	keys := []Key{WeakPassphrase("a"), WeakPassphrase("b"), Raw(Secret{1}), Raw(Secret{2}), localKMS(t, 1), localKMS(t, 2)}
	var slots []Slot
	for _, k := range keys {
		s, err := Wrap(t.Context(), ring, k, "", time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		slots = append(slots, s)
	}
	for i, k := range keys {
		if _, s, err := Unlock(t.Context(), k, slots); err != nil || s.ID != slots[i].ID {
			t.Errorf("key %d opens slot %s: %v", i, s.ID, err)
		}
	}
}

// A key that cannot be tried is not a wrong key.
func TestCannotTry(t *testing.T) {
	t.Parallel()
	slot, err := Wrap(t.Context(), newRing(t), WeakPassphrase("a"), "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	slot.Memory = 1 << 31 // would take 2 TiB
	if _, _, err := Unlock(t.Context(), WeakPassphrase("a"), []Slot{slot}); err == nil || errors.Is(err, ErrWrongKey) {
		t.Errorf("outrageous parameters: %v", err)
	}
	if _, _, err := Unlock(t.Context(), broken{}, []Slot{{Kind: "broken"}}); err == nil || errors.Is(err, ErrWrongKey) {
		t.Errorf("a key out of reach: %v", err)
	}
}

type broken struct{}

func (broken) Kind() string                              { return "broken" }
func (broken) Wrap(context.Context, *Slot, []byte) error { return errors.New("out of reach") }
func (broken) Unwrap(context.Context, Slot) ([]byte, error) {
	return nil, errors.New("out of reach")
}

// Key files are made once, for their owner alone, and read back.
func TestFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	made, err := GenerateFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if _, err := GenerateFile(path); !errors.Is(err, os.ErrExist) {
		t.Errorf("second time: %v", err)
	}
	read, err := File(path)
	if err != nil || read != made {
		t.Errorf("read back: %v", err)
	}
	if err := os.WriteFile(path, []byte("HOLDFAST-KEY-1 12\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := File(path); err == nil {
		t.Error("a short key was taken")
	}
}

// Secrets don't print.
func TestSecretsAreSilent(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(format, ring); strings.Contains(s, fmt.Sprintf("%x", ring.ID[:4])) || strings.Contains(s, fmt.Sprintf("%d", ring.ID[:])) {
			t.Errorf("%s prints %s", format, s)
		}
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte("HOLDFAST-KEY-1 " + strings.Repeat("ab", 32) + "\n"))
	f.Add([]byte("nonsense"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseFile(b)
		if err != nil {
			return
		}
		again, err := parseFile(fmt.Appendf(nil, "%s%x\n", fileMagic, s[:]))
		if err != nil || again != s {
			t.Error("a key is not read back")
		}
	})
}

func FuzzDecodeRing(f *testing.F) {
	b, err := newRing(f).encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRing(b)
		if err != nil {
			return
		}
		again, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodeRing(again); err != nil || back.ID != r.ID || len(back.Data) != len(r.Data) {
			t.Error("a ring is not read back")
		}
	})
}
