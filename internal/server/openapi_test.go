package server

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write openapi/2026-11-01.json anew")

// TestAPIIsFrozen: an operation that is released neither goes nor changes the
// action that it needs, unless somebody says so with -update.
func TestAPIIsFrozen(t *testing.T) {
	t.Parallel()
	now, err := OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("..", "..", "openapi", "2026-11-01.json")
	if *update {
		if err := os.WriteFile(file, append(now, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	frozen, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytes.TrimSpace(frozen), now) {
		t.Error("the API is not what openapi/2026-11-01.json says; if that is meant: go test ./internal/server -update")
	}
}
