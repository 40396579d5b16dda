package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/catalog/catalogtest"
	"holdfast/internal/clock"
)

func open(t *testing.T, path string, now clock.Clock) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Open(t.Context(), path, now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestMain(m *testing.M) { os.Exit(catalogtest.Main(m)) }

// onBoth runs a test on either database; place is for Open.
func onBoth(t *testing.T, test func(t *testing.T, place string)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) { t.Parallel(); test(t, filepath.Join(t.TempDir(), "catalog.db")) })
	t.Run("PostgreSQL", func(t *testing.T) { t.Parallel(); test(t, catalogtest.Postgres(t)) })
}

type thing struct{ N int }

func put(t *testing.T, c *catalog.Catalog, id, typ, parent string, n int) catalog.Resource {
	t.Helper()
	var r catalog.Resource
	err := c.Update(t.Context(), func(tx *catalog.Tx) (err error) {
		r, err = catalog.Write(tx, catalog.Resource{ID: id, Type: typ, Parent: parent}, thing{n})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestResource(t *testing.T) { onBoth(t, checkResource) }

func checkResource(t *testing.T, place string) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := open(t, place, func() time.Time { return now })

	first := put(t, c, "/subs/S/Groups/G", "Groups", "/subs/S", 1)
	now = now.Add(time.Hour)
	second := put(t, c, "/SUBS/s/groups/g", "groups", "/SUBS/S", 2)
	if second.ID != first.ID || second.Created != first.Created {
		t.Errorf("a second write changed identity: %+v, want id and creation of %+v", second, first)
	}
	if second.ETag == first.ETag || !second.Updated.Equal(now) {
		t.Errorf("a second write kept the ETag or the time: %+v", second)
	}

	put(t, c, "/subs/S/Groups/G/vaults/V", "vaults", "/subs/S/Groups/G", 3)
	put(t, c, "/subs/S/Groups/G-other", "groups", "/subs/S", 4)
	err := c.View(t.Context(), func(tx *catalog.Tx) error {
		v, _, err := catalog.Read[thing](tx, "/subs/s/groups/G")
		if err != nil || v.N != 2 {
			t.Errorf("read = %+v, %v", v, err)
		}
		under, err := tx.List(catalog.Query{Under: "/subs/S/groups/G"})
		if err != nil || len(under) != 2 {
			t.Errorf("under the group: %v, %v; want the group and its vault", under, err)
		}
		n, err := tx.Count(catalog.Query{Type: "Groups", Parent: "/subs/s"})
		if err != nil || n != 2 {
			t.Errorf("groups = %d, %v", n, err)
		}
		_, err = tx.Get("/subs/S/groups/none")
		if holdfast.KindOf(err) != holdfast.NotFound {
			t.Errorf("absent resource: %v", err)
		}
		if _, err := tx.Exec(`DELETE FROM resource`); err == nil {
			t.Error("View could write")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestUpdateIsUndoneWhole(t *testing.T) { onBoth(t, checkUpdateIsUndoneWhole) }

func checkUpdateIsUndoneWhole(t *testing.T, place string) {
	c := open(t, place, clock.System)
	boom := errors.New("boom")
	err := c.Update(t.Context(), func(tx *catalog.Tx) error {
		tx.AfterCommit(func() { t.Error("AfterCommit ran after an undo") })
		if _, err := catalog.Write(tx, catalog.Resource{ID: "/a"}, thing{1}); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatalf("Update = %v", err)
	}
	err = c.View(t.Context(), func(tx *catalog.Tx) error { _, err := tx.Get("/a"); return err })
	if holdfast.KindOf(err) != holdfast.NotFound {
		t.Errorf("an undone write is there: %v", err)
	}
}

func TestReopen(t *testing.T) { onBoth(t, checkReopen) }

func checkReopen(t *testing.T, place string) {
	c, err := catalog.Open(t.Context(), place, clock.System)
	if err != nil {
		t.Fatal(err)
	}
	put(t, c, "/a", "t", "/", 7)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = open(t, place, clock.System)
	err = c.View(t.Context(), func(tx *catalog.Tx) error {
		v, _, err := catalog.Read[thing](tx, "/A")
		if v.N != 7 {
			t.Errorf("after reopening: %+v", v)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestWritersQueue(t *testing.T) { onBoth(t, checkWritersQueue) }

func checkWritersQueue(t *testing.T, place string) {
	c := open(t, place, clock.System)
	put(t, c, "/n", "t", "/", 0)
	var wg sync.WaitGroup
	errs := make(chan error, 20)
	for range 20 {
		wg.Go(func() {
			errs <- c.Update(context.Background(), func(tx *catalog.Tx) error {
				v, r, err := catalog.Read[thing](tx, "/n")
				if err != nil {
					return err
				}
				v.N++
				_, err = catalog.Write(tx, r, v)
				return err
			})
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	_ = c.View(t.Context(), func(tx *catalog.Tx) error {
		if v, _, _ := catalog.Read[thing](tx, "/n"); v.N != 20 {
			t.Errorf("20 increments gave %d", v.N)
		}
		return nil
	})
}

func TestNewestFirst(t *testing.T) { onBoth(t, checkNewestFirst) }

func checkNewestFirst(t *testing.T, place string) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := open(t, place, func() time.Time { return now })
	for i := range 5 {
		put(t, c, fmt.Sprintf("/i/p/%d", i), "p", "/i", i)
		now = now.Add(time.Hour)
	}
	_ = c.View(t.Context(), func(tx *catalog.Tx) error {
		got, err := tx.List(catalog.Query{Parent: "/i", Newest: true, Limit: 2, To: now.Add(-2 * time.Hour)})
		if err != nil || len(got) != 2 || got[0].ID != "/i/p/3" || got[1].ID != "/i/p/2" {
			t.Errorf("newest two up to 2 h ago: %v, %v", got, err)
		}
		return nil
	})
}

func TestBackup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, to := filepath.Join(dir, "catalog.db"), filepath.Join(dir, "copy.db")
	c := open(t, path, clock.System)
	put(t, c, "/a", "t", "/", 7)
	if err := catalog.Backup(t.Context(), path, to); err != nil { // while c is open
		t.Fatal(err)
	}
	put(t, c, "/a", "t", "/", 8)
	copied := open(t, to, clock.System)
	_ = copied.View(t.Context(), func(tx *catalog.Tx) error {
		if v, _, err := catalog.Read[thing](tx, "/a"); err != nil || v.N != 7 {
			t.Errorf("the copy has %+v, %v", v, err)
		}
		return nil
	})
	info, err := os.Stat(to)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the copy's mode: %v, %v", info, err)
	}
	if err := catalog.Backup(t.Context(), path, to); !errors.Is(err, fs.ErrExist) {
		t.Errorf("an older copy was overwritten: %v", err)
	}
	if err := catalog.Backup(t.Context(), filepath.Join(dir, "none"), to+"2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("backup of nothing: %v", err)
	}
}

// TestOrderAndCount: ids are ordered byte by byte on both, and bodies are counted
// by a member.
func TestOrderAndCount(t *testing.T) { onBoth(t, checkOrderAndCount) }

func checkOrderAndCount(t *testing.T, place string) {
	c := open(t, place, clock.System)
	ids := []string{"/g/a", "/g/a(1)", "/g/a-b", "/g/a.c", "/g/a/vaults/v", "/g/a_d", "/g/b"} // as bytes
	for i, id := range ids {
		put(t, c, id, "t", "/g", i%2)
	}
	err := c.View(t.Context(), func(tx *catalog.Tx) error {
		all, err := tx.List(catalog.Query{Type: "t"})
		for i, r := range all {
			if r.ID != ids[i] {
				t.Errorf("place %d: %s, want %s", i, r.ID, ids[i])
			}
		}
		under, err2 := tx.List(catalog.Query{Under: "/g/a"})
		if len(under) != 2 {
			t.Errorf("under /g/a: %v", under)
		}
		after, err3 := tx.List(catalog.Query{Type: "t", After: "/g/a-b", Limit: 2})
		if len(after) != 2 || after[0].ID != "/g/a.c" {
			t.Errorf("after /g/a-b: %v", after)
		}
		counts, err4 := tx.CountBy(catalog.Query{Type: "t"}, "N")
		if counts["0"] != 4 || counts["1"] != 3 {
			t.Errorf("counts: %v", counts)
		}
		none, err5 := tx.CountBy(catalog.Query{Type: "t"}, catalog.MemberPolicy)
		if len(none) != 0 {
			t.Errorf("counts of a member that none has: %v", none)
		}
		return errors.Join(err, err2, err3, err4, err5)
	})
	if err != nil {
		t.Error(err)
	}
}

func TestSecondServerOnPostgresIsRefused(t *testing.T) {
	t.Parallel()
	place := catalogtest.Postgres(t)
	c := open(t, place, clock.System)
	if _, err := catalog.Open(t.Context(), place, clock.System); err == nil || !strings.Contains(err.Error(), "another holdfast") {
		t.Errorf("a second server: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, place, clock.System)
	for _, bad := range []string{"postgres://user:geheim@127.0.0.1:1/x", "postgres://user:geheim@[::1"} {
		if _, err := catalog.Open(t.Context(), bad, clock.System); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v; want an error without the password", bad, err)
		}
	}
}

// TestCopyBetweenDatabases: what PostgreSQL has goes to a file while a server is
// on it, and from there into an empty database, and never into another.
func TestCopyBetweenDatabases(t *testing.T) {
	t.Parallel()
	from, to, file := catalogtest.Postgres(t), catalogtest.Postgres(t), filepath.Join(t.TempDir(), "copy.db")
	c := open(t, from, clock.System)
	was := put(t, c, "/A/b", "t", "/", 7)
	if err := catalog.Backup(t.Context(), from, file); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the copy's mode: %v, %v", info, err)
	}
	if err := catalog.Load(t.Context(), file, to); err != nil {
		t.Fatal(err)
	}
	if err := catalog.Load(t.Context(), file, to); !errors.Is(err, catalog.ErrNotEmpty) {
		t.Errorf("loaded twice: %v", err)
	}
	for _, place := range []string{file, to} {
		_ = open(t, place, clock.System).View(t.Context(), func(tx *catalog.Tx) error {
			if r, err := tx.Get("/a/B"); err != nil || r.ID != was.ID || r.ETag != was.ETag || !r.Created.Equal(was.Created) || string(r.Body) != string(was.Body) {
				t.Errorf("%s has %+v, %v; want %+v", place, r, err, was)
			}
			return nil
		})
	}
}

// TestMove: what lies below an id and what is listed under it goes with it, and
// bodies name the new id; what only begins alike stays.
func TestMove(t *testing.T) { onBoth(t, checkMove) }

func checkMove(t *testing.T, place string) {
	c := open(t, place, clock.System)
	type link struct{ To string }
	write := func(id, parent, to string) {
		t.Helper()
		err := c.Update(t.Context(), func(tx *catalog.Tx) error {
			_, err := catalog.Write(tx, catalog.Resource{ID: id, Type: "T", Parent: parent}, link{to})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	write("/A/Safe", "/A", "/A/Safe2/x")
	write("/A/Safe/item", "/A/Safe", "/A/Safe")
	write("/A/Safe/item/point", "/A/Safe/item", "/A/Safe/item")
	write("/claims/vm", "/A/Safe", "/A/Safe/item")
	write("/A/Safe2", "/A", "/A/Safe2/x")
	if err := c.Update(t.Context(), func(tx *catalog.Tx) error { return tx.Move("/A/Safe", "/Other/Safe") }); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]struct{ parent, to string }{
		"/Other/Safe":            {"/a", "/A/Safe2/x"},
		"/Other/Safe/item":       {"/other/safe", "/Other/Safe"},
		"/Other/Safe/item/point": {"/other/safe/item", "/Other/Safe/item"},
		"/claims/vm":             {"/other/safe", "/Other/Safe/item"},
		"/A/Safe2":               {"/a", "/A/Safe2/x"},
	} {
		err := c.View(t.Context(), func(tx *catalog.Tx) error {
			v, r, err := catalog.Read[link](tx, id)
			if err == nil && (r.ID != id || r.Parent != want.parent || v.To != want.to) {
				t.Errorf("%s: %+v, %+v; want %+v", id, r, v, want)
			}
			return err
		})
		if err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	err := c.View(t.Context(), func(tx *catalog.Tx) error { _, err := tx.Get("/A/Safe/item"); return err })
	if holdfast.KindOf(err) != holdfast.NotFound {
		t.Errorf("the old id: %v", err)
	}
}

// TestLostLockOnPostgres ends the session that has the server's lock, as a
// restart of PostgreSQL or a broken connection does: nothing is written any more,
// and another server takes over.
func TestLostLockOnPostgres(t *testing.T) {
	t.Parallel()
	place := catalogtest.Postgres(t)
	c := open(t, place, clock.System)
	put(t, c, "/a", "T", "/", 1)
	conn, err := pgx.Connect(t.Context(), place)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), `SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory' AND granted
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`); err != nil {
		t.Fatal(err)
	}
	wrote := func() error {
		return c.Update(t.Context(), func(tx *catalog.Tx) error {
			_, err := catalog.Write(tx, catalog.Resource{ID: "/b", Type: "T", Parent: "/"}, thing{2})
			return err
		})
	}
	if err := wrote(); !errors.Is(err, catalog.ErrLost) {
		t.Errorf("a write without the lock: %v", err)
	}
	<-c.Lost()
	other := open(t, place, clock.System)
	put(t, other, "/c", "T", "/", 3)
	if err := wrote(); !errors.Is(err, catalog.ErrLost) {
		t.Errorf("a write beside another server: %v", err)
	}
	err = other.View(t.Context(), func(tx *catalog.Tx) error { _, err := tx.Get("/b"); return err })
	if holdfast.KindOf(err) != holdfast.NotFound {
		t.Errorf("the write without the lock is there: %v", err)
	}
}
