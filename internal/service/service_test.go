package service

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/matrix"
)

func object(t *testing.T, text string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// The cases of RFC 7396, appendix A, that begin and end with an object.
func TestMergeIsMergePatch(t *testing.T) {
	t.Parallel()
	for _, c := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		old, patch := object(t, c[0]), object(t, c[1])
		if got := merge(old, patch); !reflect.DeepEqual(got, object(t, c[2])) {
			t.Errorf("%s + %s = %v, want %s", c[0], c[1], got, c[2])
		}
		if !reflect.DeepEqual(old, object(t, c[0])) || !reflect.DeepEqual(patch, object(t, c[1])) {
			t.Errorf("%s + %s changed an argument", c[0], c[1])
		}
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	v := Vault{Settings: object(t, `{"redundancySettings":{"standardTierStorageRedundancy":"GeoRedundant"},"newer":{"member":1}}`)}
	if v.Setting("redundancySettings", "standardTierStorageRedundancy") != "GeoRedundant" || v.Setting("redundancySettings", "crossRegionRestore") != "Disabled" ||
		v.SoftDeleteDays() != 14 || v.Setting("no", "such") != "" {
		t.Errorf("settings: %v", v.AllSettings())
	}
	for text, want := range map[string]string{
		`{"publicNetworkAccess":"Enabled","newer":{"x":1}}`: "", `{"publicNetworkAccess":true}`: "publicNetworkAccess", `{"publicNetworkAccess":"enabled"}`: "publicNetworkAccess",
		`{"securitySettings":{"softDeleteSettings":{"softDeleteRetentionPeriodInDays":13}}}`: "14 to 180", `{"securitySettings":{"softDeleteSettings":{"softDeleteRetentionPeriodInDays":14.5}}}`: "14 to 180",
		`{"securitySettings":"none"}`: "",
	} {
		err := checkSettings(object(t, text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestExcluded(t *testing.T) {
	t.Parallel()
	disks := []holdfast.DiskFact{{LUN: -1}, {LUN: 0}, {LUN: 1}, {LUN: 2}}
	for _, c := range []struct {
		e    *Exclusion
		want []int
	}{
		{nil, nil}, {&Exclusion{LUNs: []int{1}}, []int{1}}, {&Exclusion{LUNs: []int{1}, Include: true}, []int{0, 2}},
		{&Exclusion{Include: true}, []int{0, 1, 2}}, // the OS disk only
		{&Exclusion{}, nil},
	} {
		if got := c.e.Excluded(disks); !slices.Equal(got, c.want) {
			t.Errorf("%+v leaves out %v, want %v", c.e, got, c.want)
		}
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "FRQ-02")
	now := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC) // a leap day
	for at, want := range map[time.Time]bool{
		now: false, now.Add(time.Second): true, now.AddDate(99, 0, 0): true, now.AddDate(99, 0, 2): false, now.AddDate(100, 0, 0): false, now.AddDate(-1, 0, 0): false,
	} {
		if err := checkExpiry("expires", at, now); (err == nil) != want {
			t.Errorf("a point that goes %v: %v", at, err)
		}
	}
}

func TestPointIDsSortByTime(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	last := ""
	for range 1000 {
		now = now.Add(time.Millisecond)
		id := newPointID(now)
		if len(id) != 19 || strings.Trim(id, "0123456789") != "" || id <= last {
			t.Fatalf("point id %q after %q", id, last)
		}
		last = id
	}
}

func TestAbove(t *testing.T) {
	t.Parallel()
	var got []string
	for id := "/subscriptions/S/resourceGroups/G"; id != ""; id = above(id) {
		got = append(got, id)
	}
	if want := []string{"/subscriptions/S/resourceGroups/G", "/subscriptions/S/resourceGroups", "/subscriptions/S"}; !slices.Equal(got, want) {
		t.Errorf("above: %v", got)
	}
}

func TestPlace(t *testing.T) {
	t.Parallel()
	s := &Service{Deps: Deps{DataDir: "/data"}}
	for in, want := range map[string]string{
		"": "file:///data/vaults/guid", "/backup/a b/../c": "file:///backup/c", "/a b": "file:///a%20b", "s3://bucket/prefix": "s3://bucket/prefix",
		"relative": "", "s3://key:secret@bucket": "", "%zz": "",
	} {
		ref, err := s.place(VaultInput{RepositoryURL: in}, "guid")
		if want == "" && err == nil || want != "" && (err != nil || ref.URL != want || ref.KeyID != "guid") {
			t.Errorf("%q: %+v, %v; want %q", in, ref, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error shows a secret: %v", in, err)
		}
	}
}
