package report

import (
	"testing"

	"holdfast/bench/measure"
)

func TestCompile(t *testing.T) {
	t.Parallel()
	run := func(tool, test string, day int, wall float64, memory int64) Sample {
		return Sample{Tool: tool, Test: test, Day: day, Cost: measure.Cost{Wall: wall, Memory: memory}}
	}
	samples := []Sample{
		run(Ours, Full, 0, 9, 100), run(Ours, Full, 0, 10, 300), run(Ours, Full, 0, 30, 100), // median 10
		run("restic", Full, 0, 40, 600), run("restic", Full, 0, 60, 600), // median 50
		run(Ours, Incremental, 1, 1, 0), run(Ours, Incremental, 2, 3, 0), // mean 2
		run("restic", Incremental, 1, 30, 0), run("restic", Incremental, 2, 50, 0), run("restic", Incremental, 3, 999, 0),
		run(Ours, Scan, 2, 5, 0),                                             // day 2 alone
		run(Ours, RestoreQcow2, 2, 4, 0), run("nbdcopy", Restore, 2, 8, 900), // it restores raw alone
		run("nbdcopy", Full, 0, 5, 900),
		run("borg", Verify, 0, 5, 0), // ours lacks it
		{Tool: Ours, Test: Size, Day: 2, Bytes: 80},
		{Tool: "restic", Test: Size, Day: 2, Bytes: 100},
		{Tool: "borg", Test: Size, Day: 2, Bytes: 200},
		{Tool: "borg/zstd", Test: Size, Day: 2, Bytes: 160},
	}
	versions := map[string]string{"restic": "restic 1", "borg": "borg 2", "borg/zstd": "borg 2 zstd,3"}
	want := map[string]Result{
		"full_vs_restic":           {Ours: 10, Their: 50, Ratio: 5, Unit: "s", Peer: "restic 1"},
		"full_vs_nbdcopy":          {Ours: 10, Their: 5, Ratio: 0.5, Unit: "s"},
		"incremental_vs_restic":    {Ours: 2, Their: 40, Ratio: 20, Unit: "s", Peer: "restic 1"},
		"scan_vs_restic":           {Ours: 5, Their: 50, Ratio: 10, Unit: "s", Peer: "restic 1"},
		"restore_qcow2_vs_nbdcopy": {Ours: 4, Their: 8, Ratio: 2, Unit: "s"},
		"size_vs_restic":           {Ours: 80, Their: 100, Ratio: 0.8, Unit: "bytes", Peer: "restic 1"},
		"size_vs_borg":             {Ours: 80, Their: 160, Ratio: 0.5, Unit: "bytes", Peer: "borg 2 zstd,3"},
		"peak_memory_vs_restic":    {Ours: 300, Their: 600, Ratio: 0.5, Unit: "bytes", Peer: "restic 1"},
	}
	for _, r := range Compile(samples, versions) {
		w, ok := want[r.Name]
		w.Name = r.Name
		if !ok || r != w {
			t.Errorf("got %+v, want %+v", r, w)
		}
		delete(want, r.Name)
	}
	for name := range want {
		t.Errorf("%s is missing", name)
	}
}
