package primitive

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestMeasureSpeaksOfTheData(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "image")
	text := bytes.Repeat([]byte("the same line again and again\n"), (8<<20)/30)
	if err := os.WriteFile(path, append(make([]byte, 8<<20), text...), 0o600); err != nil {
		t.Fatal(err)
	}
	data, err := Sample(path, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte("the same line")) || bytes.HasPrefix(data, make([]byte, holes)) {
		t.Fatal("the sample has no text, or begins with a zero chunk")
	}
	seen := map[string]Figure{}
	if err := Measure(data, func(f Figure) { seen[f.Name] = f }); err != nil {
		t.Fatal(err)
	}
	if f := seen["zstd cgo 1"]; f.Ratio <= 0 || f.Ratio > 0.1 || f.Speed <= 0 {
		t.Errorf("zstd on repeated lines: %+v", f)
	}
	if f := seen["sha-256"]; f.Ratio != 1 || f.Speed <= 0 {
		t.Errorf("a hash: %+v", f)
	}
}
