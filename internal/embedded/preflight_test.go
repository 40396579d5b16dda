package embedded_test

import (
	"slices"
	"strings"
	"testing"

	"holdfast"
)

// TestPreflight asks what a backup of a machine would meet, as az rest does.
func TestPreflight(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	path := func(vm string) string {
		return "/subscriptions/" + s.sub + "/resourceGroups/lab/providers/Microsoft.Compute/virtualMachines/" + vm + "/providers/Holdfast.Site/preflights/current"
	}
	const version = "?api-version=2026-11-01"
	ask := func(ready bool, findings int) {
		t.Helper()
		code, out, _ := s.send(t, "GET", path("web")+version, "")
		p, _ := out["properties"].(map[string]any)
		found, _ := p["findings"].([]any)
		rows := slices.DeleteFunc(slices.Clone(found), func(f any) bool { return f.(map[string]any)["row"] == nil })
		found = slices.DeleteFunc(slices.Clone(found), func(f any) bool { return f.(map[string]any)["row"] != nil })
		if len(rows) < 5 {
			t.Errorf("rows of the support matrix: %v", rows)
		}
		if code != 200 || p["ready"] != ready || len(found) != findings || out["id"] != path("web") || out["type"] != "Holdfast.Site/preflights" {
			t.Errorf("%d %v, want ready %v with %d findings", code, out, ready, findings)
		}
	}
	ask(true, 0)
	w.findings = []holdfast.Finding{{Severity: holdfast.Lessens, Subject: "vm", Text: "it is off", Fix: "nothing"}}
	ask(true, 1)
	w.findings = append(w.findings, holdfast.Finding{Severity: holdfast.Blocks, Subject: "disk vdb", Text: "vmdk", Fix: "convert it"})
	ask(false, 2)
	if code, out, _ := s.send(t, "GET", path("none")+version, ""); code != 404 {
		t.Errorf("no such machine: %d %v", code, out)
	}
	_, out, _ := s.send(t, "GET", "/subscriptions/"+s.sub+"/providers/Holdfast.Site?api-version=2021-04-01", "")
	var types []string
	for _, r := range out["resourceTypes"].([]any) {
		types = append(types, r.(map[string]any)["resourceType"].(string))
	}
	if got := strings.Join(types, " "); got != "sites preflights" && got != "preflights sites" {
		t.Errorf("types of Holdfast.Site: %s", got)
	}
}

// TestSiteLimits: what a site allows a backup reaches the mover.
func TestSiteLimits(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	s.protect(t)
	put := func(limits string) (int, map[string]any) {
		code, out, _ := s.send(t, "PUT", "/subscriptions/"+s.sub+"/providers/Holdfast.Site/sites/"+site+"?api-version=2026-11-01",
			`{"properties":{"uri":"qemu:///system","resourceGroup":"lab",`+limits+`}}`)
		return code, out
	}
	for _, bad := range []string{`"scratchLimit":-1`, `"scratchLimit":4096`, `"readRate":-1`, `"readRate":1000`} {
		member := strings.Split(bad, `"`)[1]
		if code, out := put(bad); code != 400 || !strings.Contains(string(holdfast.Marshal(out)), "properties."+member) {
			t.Errorf("%s: %d %v", bad, code, out)
		}
	}
	code, out := put(`"scratchLimit":1073741824,"readRate":104857600`)
	if p := out["properties"].(map[string]any); code != 200 || p["scratchLimit"] != 1073741824.0 || p["readRate"] != 104857600.0 {
		t.Fatalf("limits: %d %v", code, out)
	}
	if j := s.job(t, s.backupNow(t)); *j.Status != "Completed" || len(w.backups) != 1 || w.backups[0].ReadRate != 100<<20 || w.backups[0].Site.ScratchLimit != 1<<30 {
		t.Errorf("%+v, %+v", j, w.backups)
	}
}
