package catalog_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"

	"holdfast/internal/catalog"
	"holdfast/internal/catalog/catalogtest"
	"holdfast/internal/clock"
)

// onPostgres is a catalog with two resources, and a session of somebody else.
func onPostgres(t *testing.T) (*catalog.Catalog, *pgx.Conn) {
	t.Helper()
	place := catalogtest.Postgres(t)
	c, err := catalog.Open(t.Context(), place, clock.System)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	other, err := pgx.Connect(t.Context(), place)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close(t.Context()) })
	err = c.Update(t.Context(), func(tx *catalog.Tx) error {
		for _, id := range []string{"/a", "/b"} {
			if _, err := catalog.Write(tx, catalog.Resource{ID: id, Type: "t"}, 0); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, other
}

// count adds one to /a; it is there once however often the transaction was tried.
func count(tx *catalog.Tx) error {
	n, _, err := catalog.Read[int](tx, "/a")
	if err != nil {
		return err
	}
	_, err = catalog.Write(tx, catalog.Resource{ID: "/a", Type: "t"}, n+1)
	return err
}

func counted(t *testing.T, c *catalog.Catalog) (n int) {
	t.Helper()
	if err := c.View(t.Context(), func(tx *catalog.Tx) (err error) { n, _, err = catalog.Read[int](tx, "/a"); return err }); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestDeadlock: PostgreSQL ends one of two transactions that wait for each other.
// Ours is done again when it is that one, and nobody sees it.
func TestDeadlock(t *testing.T) {
	t.Parallel()
	c, other := onPostgres(t)
	ctx := t.Context()
	if _, err := other.Exec(ctx, `SET deadlock_timeout = '1min'`); err != nil { // so that ours is found
		t.Fatal(err)
	}
	theirs, err := other.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.Exec(ctx, `UPDATE resource SET type = type WHERE id = '/b'`); err != nil {
		t.Fatal(err)
	}
	ended, tried, done := make(chan error, 1), 0, 0
	err = c.Update(ctx, func(tx *catalog.Tx) error {
		tx.AfterCommit(func() { done++ })
		if err := count(tx); err != nil { // has /a
			return err
		}
		if tried++; tried == 1 {
			go func() { // waits for /a, and has /b
				_, err := theirs.Exec(ctx, `UPDATE resource SET type = type WHERE id = '/a'`)
				ended <- errors.Join(err, theirs.Commit(ctx))
			}()
		}
		_, err := catalog.Write(tx, catalog.Resource{ID: "/b", Type: "t"}, tried)
		return err
	})
	if err != nil || tried != 2 || done != 1 {
		t.Errorf("after a deadlock: %v; tried %d times, told %d times", err, tried, done)
	}
	if err := <-ended; err != nil {
		t.Errorf("the other one: %v", err)
	}
	if n := counted(t, c); n != 1 {
		t.Errorf("counted %d", n)
	}
}

// TestTriedAgain: what PostgreSQL asks to be tried again is; what is wrong isn't.
func TestTriedAgain(t *testing.T) {
	t.Parallel()
	c, other := onPostgres(t)
	raise := func(code string) func(tx *catalog.Tx) error {
		return func(tx *catalog.Tx) error {
			_, err := tx.Exec(`DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '` + code + `'; END $$`)
			return err
		}
	}
	end := func(tx *catalog.Tx) error {
		var pid int
		if err := tx.QueryRow(`SELECT pg_backend_pid()`).Scan(&pid); err != nil {
			return err
		}
		_, err := other.Exec(t.Context(), `SELECT pg_terminate_backend($1, 10000)`, pid)
		return err
	}
	want := 0
	for name, s := range map[string]struct {
		fails func(tx *catalog.Tx) error
		again bool
	}{
		"serialization failure": {raise("40001"), true}, "deadlock": {raise("40P01"), true}, "the session is ended": {end, true},
		"unique violation": {raise("23505"), false}, "a full disk": {raise("53100"), false},
	} {
		for kind, run := range map[string]func(func(*catalog.Tx) error) error{
			"write": func(f func(*catalog.Tx) error) error { return c.Update(t.Context(), f) },
			"read":  func(f func(*catalog.Tx) error) error { return c.View(t.Context(), f) },
		} {
			tried := 0
			err := run(func(tx *catalog.Tx) error {
				if tried++; tried == 1 {
					if err := s.fails(tx); err != nil {
						return err
					}
				}
				if kind == "read" {
					_, _, err := catalog.Read[int](tx, "/a")
					return err
				}
				return count(tx)
			})
			if (err == nil) != s.again || (tried == 2) != s.again {
				t.Errorf("%s of a %s: %v, tried %d times", name, kind, err, tried)
			}
			if kind == "write" && s.again {
				want++
			}
		}
	}
	if n := counted(t, c); n != want {
		t.Errorf("counted %d, want %d", n, want)
	}
	tried := 0
	err := c.Update(t.Context(), func(tx *catalog.Tx) error { tried++; return raise("40001")(tx) })
	if err == nil || tried != 10 {
		t.Errorf("what fails for ever: %v, tried %d times", err, tried)
	}
}
