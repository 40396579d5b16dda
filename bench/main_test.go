package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"holdfast/bench/measure"
	"holdfast/bench/report"
)

func TestParseSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"16GiB": 16 << 30, "512MiB": 512 << 20, "0GiB": 0, "16": 0, "16GB": 0, "-1GiB": 0, "": 0} {
		got, err := parseSize(text)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
}

// A merged book keeps what is not measured anew and replaces what is, once.
func TestBookMerges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sample := func(tool string, wall float64) report.Sample {
		return report.Sample{Tool: tool, Test: report.Full, Cost: measure.Cost{Wall: wall}}
	}
	for _, run := range [][]report.Sample{
		{sample(report.Ours, 10), sample("restic", 30)},
		{sample(report.Ours, 5), sample(report.Ours, 7)},
	} {
		b, err := openBook(options{out: dir, merge: true}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range run {
			if err := b.add(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var list []report.Result
	if err := json.Unmarshal(raw, &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].Name != "full_vs_restic" || list[0].Ours != 6 || list[0].Ratio != 5 {
		t.Fatalf("results %+v; want full_vs_restic of 6 s (the median of the new runs) and ratio 5", list)
	}
}

func TestVersionNumber(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"restic 0.14.0 compiled with go1.19.8 on linux/amd64": "0.14.0",
		"borg 1.2.4\n": "1.2.4",
		"qemu-img version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)": "7.2.22",
		"holdfast (devel) go1.26.8 linux/amd64":                     "(devel)",
		"holdfast v1.2.0 go1.26.8 linux/amd64":                      "1.2.0",
		"1.9.15\n":                                                  "1.9.15",
	} {
		if m := number.FindStringSubmatch(text); m == nil || m[1] != want {
			t.Errorf("%q: %q, want %q", text, m, want)
		}
	}
}
