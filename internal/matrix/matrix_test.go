package matrix

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite what is generated from the rows and the tree")

const root = "../.." // of the module

// sizes is how many rows each prefix has in the documents. Ids are never
// reused, so a row may be added here and none taken away.
var sizes = map[string]int{
	"SCN": 3, "ACT": 13, "WIN": 9, "LNX": 4, "LOS": 6, "FRQ": 8, "RST": 4, "FLR": 7, "MGT": 10,
	"CMP": 15, "STO": 14, "NET": 13, "SEC": 8, "ZIP": 3, "RPT": 35, "RPO": 3, "RPL": 5,
}

func TestEveryRowOfTheDocumentsIsThereOnce(t *testing.T) {
	t.Parallel()
	want := map[string]bool{}
	for prefix, n := range sizes {
		for i := 1; i <= n; i++ {
			want[fmt.Sprintf("%s-%02d", prefix, i)] = true
		}
	}
	if len(want) != 160 {
		t.Fatalf("the documents have 160 rows, the table of this test %d", len(want))
	}
	for _, r := range Rows() {
		if !want[r.ID] {
			t.Errorf("%s: unknown, or there twice", r.ID)
		}
		delete(want, r.ID)
		for field, value := range map[string]string{"subject": r.Subject, "stance": r.Stance, "must": r.Must,
			"section": r.Section, "document": string(r.Document), "verdict": string(r.Verdict)} {
			if value == "" || strings.ContainsAny(value, "|\n") {
				t.Errorf("%s: %s is empty, or would break a table: %q", r.ID, field, value)
			}
		}
	}
	for id := range want {
		t.Errorf("%s is missing", id)
	}
}

// A row is either open or enforced somewhere and shown by a test.
func TestRowsAreOpenOrEnforcedAndShown(t *testing.T) {
	if *update {
		return // the list of tests per row in this binary is the old one
	}
	t.Parallel()
	for _, r := range Rows() {
		if r.Open == "" && len(r.Tests()) == 0 {
			t.Errorf("%s has no open work and no test that covers it", r.ID)
		}
		if len(r.In) == 0 && (r.Open == "" || len(r.Tests()) > 0) {
			t.Errorf("%s is shown by %v but names no room that enforces it", r.ID, r.Tests())
		}
		for _, room := range r.In {
			if entries, err := filepath.Glob(filepath.Join(root, "internal", room, "*.go")); err != nil || len(entries) == 0 {
				t.Errorf("%s: there is no room internal/%s", r.ID, room)
			}
		}
	}
}

func TestJSONListsEveryRow(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	var rows []struct{ ID, Verdict, Enforcement string }
	if err := json.Unmarshal(out.Bytes(), &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) != len(Rows()) {
		t.Fatalf("%d rows in JSON, want %d", len(rows), len(Rows()))
	}
	for _, r := range rows {
		if r.ID == "" || r.Verdict == "" || r.Enforcement == "" {
			t.Errorf("incomplete: %+v", r)
		}
	}
}

func TestSupportMatrixPageIsCurrent(t *testing.T) {
	var out bytes.Buffer
	if err := WriteMarkdown(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, filepath.Join(root, "docs", "support-matrix.md"), out.Bytes())
}

func TestTestsPerRowAreCurrent(t *testing.T) {
	found, err := scan(root)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "tests.go", source(found))
}

func golden(t *testing.T, path string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("%s is stale; run: make matrix", path)
	}
}
