package embedded_test

import (
	"errors"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"

	"holdfast/internal/catalog"
	"holdfast/internal/catalog/catalogtest"
	"holdfast/internal/embedded"
)

func TestMain(m *testing.M) { os.Exit(catalogtest.Main(m)) }

// TestSDKStoryOnPostgres is the main job with the catalog in PostgreSQL, and
// after a restart what was is there.
func TestSDKStoryOnPostgres(t *testing.T) {
	t.Parallel()
	place, dir := catalogtest.Postgres(t), t.TempDir()
	onPostgres := func(c *embedded.Config) { c.Catalog = place }
	s := dial(t, serveWith(t, dir, onPostgres))
	lab(t, s)
	s.protect(t)
	if j := s.job(t, s.backupNow(t)); *j.Status != "Completed" {
		t.Fatalf("backup: %+v", j)
	}
	s.restoreStory(t, *s.points(t)[0].Name)
	s.jobsStory(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = dial(t, serveWith(t, dir, onPostgres))
	if points := s.points(t); len(points) != 1 {
		t.Errorf("points after a restart: %v", points)
	}
	if _, err := os.Stat(dir + "/catalog.db"); err == nil {
		t.Error("there is an SQLite catalog, too")
	}
}

// TestServerEndsWithoutItsLock: when PostgreSQL ends the session that keeps other
// servers away, nothing is changed any more and the server ends; the next one
// goes on.
func TestServerEndsWithoutItsLock(t *testing.T) {
	t.Parallel()
	place, dir := catalogtest.Postgres(t), t.TempDir()
	onPostgres := func(c *embedded.Config) { c.Catalog = place }
	s := dial(t, serveWith(t, dir, onPostgres))
	lab(t, s)
	conn, err := pgx.Connect(t.Context(), place)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), `SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory' AND granted
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := s.send(t, "PUT", "/subscriptions/"+s.sub+"/resourceGroups/late?api-version=2021-04-01", `{"location":"site1"}`); code != 500 {
		t.Errorf("a change without the lock: %d", code)
	}
	if err := s.Wait(t.Context()); !errors.Is(err, catalog.ErrLost) {
		t.Errorf("the server ended with %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s = dial(t, serveWith(t, dir, onPostgres))
	if code, _, _ := s.send(t, "GET", "/subscriptions/"+s.sub+"/resourceGroups/late?api-version=2021-04-01", ""); code != 404 {
		t.Errorf("the change is there: %d", code)
	}
	s.protect(t)
	if j := s.job(t, s.backupNow(t)); *j.Status != "Completed" {
		t.Errorf("a backup of the next server: %+v", j)
	}
}
