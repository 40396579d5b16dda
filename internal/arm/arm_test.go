package arm_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/arm"
)

func TestParseID(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]struct{ typ, name, canonical string }{
		"/subscriptions/S":                    {"Microsoft.Resources/subscriptions", "S", "/subscriptions/S"},
		"/Subscriptions/S/resourcegroups/RG/": {"Microsoft.Resources/resourceGroups", "RG", "/subscriptions/S/resourceGroups/RG"},
		"/subscriptions/S/resourceGroups/G/providers/Microsoft.Compute/virtualMachines//vm": {
			"Microsoft.Compute/virtualMachines", "vm", "/subscriptions/S/resourceGroups/G/providers/Microsoft.Compute/virtualMachines/vm"},
		"/subscriptions/S/resourceGroups/G/PROVIDERS/NS/vaults/v/backupFabrics/Azure": {
			"NS/vaults/backupFabrics", "Azure", "/subscriptions/S/resourceGroups/G/providers/NS/vaults/v/backupFabrics/Azure"},
		"/subscriptions/S/resourceGroups/G/providers/NS/vaults/v/providers/Microsoft.Authorization/locks/l": {
			"Microsoft.Authorization/locks", "l", "/subscriptions/S/resourceGroups/G/providers/NS/vaults/v/providers/Microsoft.Authorization/locks/l"},
	} {
		id, err := arm.ParseID(in)
		if err != nil || !id.Is(strings.ToUpper(want.typ)) || id.Name() != want.name || id.String() != want.canonical {
			t.Errorf("%s = %+v (%s, %s, %s), %v; want %+v", in, id, id.Type(), id.Name(), id, err, want)
		}
	}
	for _, bad := range []string{
		"", "subscriptions/S", "/", "/subscriptions", "/resourceGroups/G", "/subscriptions/S/G", "/subscriptions/S/providers", "/subscriptions/S/providers/NS",
		"/subscriptions/S/providers/NS/type", "/subscriptions/S/resourceGroups/G/providers/NS/t/n/child", "/subscriptions/S\n", "/subscriptions/S?x", "/subscriptions/S/providers/NS/providers/NS/t/n",
		"/subscriptions/" + strings.Repeat("S", 3000),
	} {
		if id, err := arm.ParseID(bad); err == nil {
			t.Errorf("%q is taken as %+v", bad, id)
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("/subscriptions/S/resourceGroups/G/providers/NS/t/n/providers/NS2/t/n")
	f.Add("/subscriptions//S/")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := arm.ParseID(s)
		if err != nil {
			return
		}
		again, err := arm.ParseID(id.String())
		if err != nil || again.String() != id.String() {
			t.Errorf("%q -> %q -> %q, %v", s, id, again, err)
		}
	})
}

func TestSegments(t *testing.T) {
	t.Parallel()
	got, err := arm.Segments("/a//b%3Bc;d/%20e/")
	if err != nil || !slices.Equal(got, []string{"a", "b;c;d", " e"}) {
		t.Errorf("segments = %q, %v", got, err)
	}
	for _, bad := range []string{"/a/../b", "/a/%2e%2e/b", "/a%2fb", "/a%5Cb", "/a%00", "/%zz", "/%", "/a/./b"} {
		if got, err := arm.Segments(bad); err == nil {
			t.Errorf("%q gives %q", bad, got)
		}
	}
}

func FuzzSegments(f *testing.F) {
	f.Add("/a//b%3Bc/")
	f.Add("/%2e%2e/%2f")
	f.Fuzz(func(t *testing.T, s string) {
		segs, err := arm.Segments(s)
		for _, seg := range segs {
			if err == nil && (seg == "" || seg == ".." || strings.ContainsAny(seg, "/\\\x00")) {
				t.Errorf("%q has the segment %q", s, seg)
			}
		}
	})
}

func TestParseFilter(t *testing.T) {
	t.Parallel()
	f, err := arm.ParseFilter("backupManagementType eq 'AzureIaasVM' and endTime eq '2024-01-02 12:30:00 AM' AND name eq 'it''s and eq' and n eq 5")
	if err != nil {
		t.Fatal(err)
	}
	if !f.Matches("backupmanagementtype", "azureiaasvm") || f.Matches("name", "other") || f.Get("NAME") != "it's and eq" || f.Get("n") != "5" || !f.Matches("absent", "x") {
		t.Errorf("filter = %v", f)
	}
	at, err := f.Time("endTime")
	if err != nil || !at.Equal(time.Date(2024, 1, 2, 0, 30, 0, 0, time.UTC)) {
		t.Errorf("endTime = %v, %v; 12:30 AM is half past midnight", at, err)
	}
	if _, err := f.Time("name"); err == nil {
		t.Error("a name is taken as a time")
	}
	if f.Only("backupManagementType", "endTime", "name", "n") != nil || f.Only("name") == nil {
		t.Error("Only does not tell known from unknown names")
	}
	for _, bad := range []string{"name", "name eq", "name ne 'x'", "name eq 'x", "name eq 'x' or b eq 'y'", "name eq 'x' and", "eq 'x'", "a eq 'x' and a eq 'y'"} {
		if f, err := arm.ParseFilter(bad); err == nil {
			t.Errorf("%q gives %v", bad, f)
		}
	}
}

func FuzzParseFilter(f *testing.F) {
	f.Add("a eq 'b' and c eq 'd''e'")
	f.Add("a eq '")
	f.Fuzz(func(t *testing.T, s string) {
		if f, err := arm.ParseFilter(s); err == nil {
			for k := range f {
				_, _ = f.Time(k)
			}
		}
	})
}

func TestNamesAndVersions(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{"vault-1": true, "a": true, "_x(1).y": true, "": false, "a.": false, "a/b": false, "a b": false, "-a": false, strings.Repeat("a", 91): false, strings.Repeat("a", 90): true} {
		if arm.IsName(s) != want {
			t.Errorf("IsName(%q) = %v", s, !want)
		}
	}
	for s, want := range map[string]bool{"2024-01-02": true, "2022-09-01-preview": true, "1.0": true, "": false, "2024": false, "2024-01-02'": false} {
		if arm.IsVersion(s) != want {
			t.Errorf("IsVersion(%q) = %v", s, !want)
		}
	}
	if !arm.Within("/Subscriptions/s/resourceGroups/g", "/subscriptions/S") || arm.Within("/subscriptions/s2", "/subscriptions/s") {
		t.Error("Within does not see segments")
	}
}
