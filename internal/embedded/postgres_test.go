package embedded_test

import (
	"os"
	"testing"

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
