package restore

import (
	"reflect"
	"strings"
	"testing"

	"holdfast/internal/matrix"
	"holdfast/internal/mover"
)

// What the original was and a new VM is not stays behind, is told, and takes
// nothing else with it.
func TestLeftBehind(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "CMP-03", "CMP-12", "CMP-15")
	for _, c := range []struct {
		kept  string
		want  map[string]any
		notes []string
	}{
		{`{"zones":["1"],"properties":{"priority":"Spot","evictionPolicy":"Deallocate","licenseType":"RHEL_BYOS"}}`,
			map[string]any{"zones": []any{"1"}, "properties": map[string]any{"licenseType": "RHEL_BYOS"}}, []string{"CMP-12"}},
		{`{"properties":{"priority":"Regular"}}`, map[string]any{"properties": map[string]any{}}, nil},
		{`{"properties":{"hostGroup":{"id":"g"},"availabilitySet":{"id":"s"}}}`, map[string]any{"properties": map[string]any{}}, []string{"CMP-13", "CMP-02"}},
		{`{"zones":["2"]}`, map[string]any{"zones": []any{"2"}}, nil},
		{`not JSON`, nil, nil},
	} {
		from := strings.Replace(original, "<metadata>", `<metadata><holdfast:kept xmlns:holdfast="`+mover.KeptSpace+`">`+c.kept+`</holdfast:kept>`, 1)
		out, notes, err := rewriteDomain(from, newDomain{Name: "n", Disks: map[string]string{"vda": "/a", "vdb": "/b", "vdc": "/c"}})
		if err != nil {
			t.Fatal(err)
		}
		_, inner, _ := strings.Cut(out, "<metadata>")
		inner, _, _ = strings.Cut(inner, "</metadata>")
		if got := mover.Kept(inner); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s became %v, want %v", c.kept, got, c.want)
		}
		for i, row := range c.notes {
			if i >= len(notes) || !strings.Contains(notes[i], row) {
				t.Errorf("%s: notes %q, want %s", c.kept, notes, row)
			}
		}
		if n := strings.Count(strings.Join(notes, "\n"), "(CMP-"); n != len(c.notes) {
			t.Errorf("%s: notes %q", c.kept, notes)
		}
	}
}

// TestSetsAreLeftBehind: a VM of a copied point names no disk encryption set of the
// other site; any other VM names the one of its point.
func TestSetsAreLeftBehind(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "RPT-29")
	const kept = `{"properties":{"securityProfile":{"encryptionAtHost":true}},"disks":{"vda":{"caching":"None","managedDisk":{"diskEncryptionSet":{"id":"S"}}},"vdb":{"caching":"None"}}}`
	from := strings.Replace(original, "<metadata>", `<metadata><holdfast:kept xmlns:holdfast="`+mover.KeptSpace+`">`+kept+`</holdfast:kept>`, 1)
	for _, leave := range []bool{false, true} {
		out, notes, err := rewriteDomain(from, newDomain{Name: "n", LeaveSets: leave, Disks: map[string]string{"vda": "/a", "vdb": "/b", "vdc": "/c"}})
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out, "diskEncryptionSet") == leave || strings.Count(out, "caching") != 2 || !strings.Contains(out, "encryptionAtHost") || strings.Contains(strings.Join(notes, "\n"), "RPL-05") != leave {
			t.Errorf("leave %v: %s, notes %q", leave, out, notes)
		}
	}
}
