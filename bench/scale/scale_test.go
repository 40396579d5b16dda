package scale

import (
	"os"
	"path/filepath"
	"testing"

	"holdfast/internal/matrix"
)

// Every bench runs, small, and every figure that the issue asks for is there. A
// disk of 32 TiB comes back as it was: the bench compares.
func TestBenchesSmall(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "STO-02")
	o := Options{Data: 64 << 20, Points: 40, Chunks: 100_000}
	want := map[string][]string{
		"sparse": {"sparse_32TiB_full_over_dense", "sparse_32TiB_stored_over_dense", "sparse_32TiB_unchanged", "sparse_32TiB_unchanged_stored",
			"sparse_32TiB_listed_over_dense", "sparse_32TiB_restored_over_dense"},
		"points": {"points_open_and_list_40", "points_delete_20", "points_collect_after_20", "points_collect_after_1_more"},
		"index":  {"index_lookup_hit", "index_lookup_miss", "index_memory_each"},
	}
	for name, run := range Benches {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := o
			o.Dir = filepath.Join(t.TempDir(), "scratch")
			seen := map[string]Figure{}
			if err := os.MkdirAll(o.Dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := run(t.Context(), o, func(f Figure) { seen[f.Name] = f }); err != nil {
				t.Fatal(err)
			}
			for _, w := range want[name] {
				if _, ok := seen[w]; !ok {
					t.Errorf("no figure %s", w)
				}
			}
			if f := seen["sparse_32TiB_unchanged_stored"]; f.Over() {
				t.Errorf("a point of an unchanged disk stores %.0f bytes", f.Value)
			}
		})
	}
}
