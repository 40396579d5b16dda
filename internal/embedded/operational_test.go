package embedded_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"

	"holdfast"
)

// TestOperationalPlace: a site's operational repository may have a place of its own,
// which stays when it isn't said again, and which changes only while it alone has
// nothing.
func TestOperationalPlace(t *testing.T) {
	t.Parallel()
	p := servePoints(t, nil)
	path := "/subscriptions/" + p.sub + "/providers/Holdfast.Site/sites/site1?api-version=2026-11-01"
	put := func(dir string) (int, string) {
		t.Helper()
		more := ""
		if dir != "" {
			more = fmt.Sprintf(`,"operationalDir":%q`, dir)
		}
		code, out, _ := p.send(t, "PUT", path, `{"properties":{"uri":"qemu:///system","resourceGroup":"lab"`+more+`}}`)
		return code, fmt.Sprint(out)
	}
	is := func(dir string) {
		t.Helper()
		_, out, _ := p.send(t, "GET", path, "")
		if got := out["properties"].(map[string]any)["operationalDir"]; got != dir {
			t.Errorf("the place is %v, want %s", got, dir)
		}
	}
	usual := p.dir + "/operational/site1"
	for _, bad := range []string{"relative", "/", "/a/../b"} {
		if code, out := put(bad); code != 400 || !strings.Contains(out, "properties.operationalDir") {
			t.Errorf("%s: %d %s", bad, code, out)
		}
	}
	if code, out := put(""); code != 201 {
		t.Fatalf("%d %s", code, out)
	}
	is(usual)
	p.refuse = holdfast.Errorf(holdfast.Unreachable, "file:///fast/site1", "The directory is not there.")
	if code, out := put("/fast/site1"); code != 409 || !strings.Contains(out, "The directory is not there.") {
		t.Errorf("a place that is none: %d %s", code, out)
	}
	is(usual)
	p.refuse = nil
	if code, out := put("/fast/site1"); code != 200 || p.provided["file:///fast/site1"] != "r-operational-site1" {
		t.Errorf("%d %s, provided %v", code, out, p.provided)
	}
	put("")
	is("/fast/site1")
	p.collection(t, "lab", "rpc", "site1", p.vmID("web"))
	p.point(t, "lab", "rpc", "first", armcompute.RestorePointProperties{})
	if at := p.store.asked[0].Operational; at.URL != "file:///fast/site1" || !at.Given || !at.Quick {
		t.Errorf("the point is at %+v", at)
	}
	if code, out := put("/faster/site1"); code != 409 || !strings.Contains(out, "the restore point rpc/first") {
		t.Errorf("with a restore point: %d %s", code, out)
	}
	gone, err := p.points.BeginDelete(t.Context(), "lab", "rpc", "first", nil)
	done(t, gone, err)
	if code, out := put(usual); code != 200 {
		t.Errorf("back: %d %s", code, out)
	}
	is(usual)
}

// TestOperationalPlaceWithBackups: points that wait for their vault keep the place;
// those that the vault has, too, are in the vault alone after the change.
func TestOperationalPlaceWithBackups(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	s.protect(t)
	path := "/subscriptions/" + s.sub + "/providers/Holdfast.Site/sites/" + site + "?api-version=2026-11-01"
	const body = `{"properties":{"uri":"qemu:///system","resourceGroup":"lab","operationalDir":"/fast/here"}}`
	w.cut = holdfast.Errorf(holdfast.Unreachable, "/vaults/safe", "The vault's storage does not answer.")
	s.job(t, s.backupNow(t))
	if code, out, _ := s.send(t, "PUT", path, body); code != 409 || !strings.Contains(fmt.Sprint(out), "not in its vault yet") {
		t.Errorf("with a point that waits: %d %v", code, out)
	}
	w.cut = nil
	s.job(t, s.backupNow(t))
	if tiers := s.tiers(t); tiers != "InstantRP HardenedRP" {
		t.Fatalf("tiers %q", tiers)
	}
	if code, out, _ := s.send(t, "PUT", path, body); code != 200 {
		t.Errorf("with points that the vault has: %d %v", code, out)
	}
	if tiers := s.tiers(t); tiers != "HardenedRP" {
		t.Errorf("then: tiers %q", tiers)
	}
}
