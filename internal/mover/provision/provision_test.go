package provision_test

import (
	"context"
	"crypto/rand"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/mover"
	"holdfast/internal/mover/provision"
	"holdfast/internal/objstore"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/repository"
)

// TestHold: a store with object lock is told to hold what the repository puts,
// and one without is no error.
func TestHold(t *testing.T) {
	t.Parallel()
	for _, can := range []bool{true, false} {
		store := mem.New(mem.Options{Retention: can})
		dir := t.TempDir()
		o := &mover.Opener{KeyDir: filepath.Join(dir, "keys"), CacheDir: filepath.Join(dir, "cache"), Owner: repository.Owner{ID: dir, Instance: rand.Text()},
			OpenStore: func(context.Context, string, bool) (objstore.Store, error) { return store, nil }}
		t.Cleanup(func() {
			if err := o.Close(); err != nil {
				t.Error(err)
			}
		})
		m := provision.Mover{Opener: o}
		ask := func(days int) holdfast.ProvisionResult {
			t.Helper()
			res, err := m.Provision(t.Context(), holdfast.ProvisionArgs{Repository: holdfast.RepositoryRef{URL: "mem://x", KeyID: "k"}, HoldDays: days})
			if err != nil {
				t.Fatal(err)
			}
			return res
		}
		if res := ask(0); res.CanHold || res.RepositoryID == "" {
			t.Errorf("without a hold: %+v", res)
		}
		if res := ask(14); res.CanHold != can {
			t.Errorf("a store that can hold: %v; %+v", can, res)
		}
		if !can {
			continue
		}
		r, err := o.Repository(t.Context(), holdfast.RepositoryRef{URL: "mem://x", KeyID: "k"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Collect(t.Context(), repository.CollectOptions{}); err != nil {
			t.Fatal(err)
		}
		n := 0
		for found, err := range store.List(t.Context(), "", "") {
			if err != nil {
				t.Fatal(err)
			}
			held, err := store.Stat(t.Context(), found.Name)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(found.Name, "leases/") {
				continue // they come and go
			}
			if n++; held.RetainUntil.Before(time.Now().AddDate(0, 0, 13)) {
				t.Errorf("%s is held until %v", found.Name, held.RetainUntil)
			}
		}
		if n < 3 {
			t.Errorf("the repository has %d objects", n)
		}
	}
}
