package repository_test

import (
	"errors"
	"maps"
	"math/rand/v2"
	"testing"

	"holdfast/internal/keyring"
	"holdfast/internal/objstore"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/repository"
)

// kmsKey is a key service whose key is in its URL.
func kmsKey(t testing.TB, url string) keyring.Key {
	t.Helper()
	k, err := keyring.KMS(url)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// From any kind of key to any kind: the old key no longer opens, the new one
// does, and but for the slot not an object is touched.
func TestRotateKey(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(31, 31))
	store := mem.New(mem.Options{})
	r := initRepo(t, store)
	data := content(rng, 10*chunkSize)
	p := mustBackup(t, r, "p", "s", nil, &memDisk{data: data})
	before := objects(t, store)
	old := testKey
	for _, next := range []keyring.Key{
		keyring.WeakPassphrase("one"), keyring.WeakPassphrase("two"),
		kmsKey(t, "base64key://smGbjm71Nxd1Ig5FS0wj9SlbzAIrnolCz9bQQ6uAhl4="),
		kmsKey(t, "base64key://AAAbjm71Nxd1Ig5FS0wj9SlbzAIrnolCz9bQQ6uAhl4="),
		keyring.Raw(keyring.Secret{7}), keyring.WeakPassphrase("three"), keyring.Raw(keyring.Secret{8}),
	} {
		if _, err := r.RotateKey(t.Context(), next, "next"); err != nil {
			t.Fatalf("%s to %s: %v", old.Kind(), next.Kind(), err)
		}
		if _, err := repository.Open(t.Context(), store, old, repository.Options{}); !errors.Is(err, keyring.ErrWrongKey) {
			t.Errorf("%s to %s: the old key: %v", old.Kind(), next.Kind(), err)
		}
		again, err := repository.Open(t.Context(), store, next, repository.Options{})
		if err != nil {
			t.Fatalf("%s to %s: the new key: %v", old.Kind(), next.Kind(), err)
		}
		mustRestore(t, again, p, data)
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		r, old = again, next
	}
	if after := objects(t, store); !maps.Equal(before, after) {
		t.Errorf("rotation touched the store: %v, was %v", after, before)
	}
	if slots, err := r.Keys(t.Context()); err != nil || len(slots) != 1 {
		t.Errorf("%d slots, %v", len(slots), err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// objects are the names and sizes of all objects but the key slots.
func objects(t testing.TB, store objstore.Store) map[string]int64 {
	t.Helper()
	all := map[string]int64{}
	for info, err := range store.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if len(info.Name) < 5 || info.Name[:5] != "keys/" {
			all[info.Name] = info.Size
		}
	}
	return all
}
