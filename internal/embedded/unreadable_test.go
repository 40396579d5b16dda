package embedded_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"

	"holdfast"
	"holdfast/internal/embedded"
)

// examiner says of points what a test wants.
type examiner struct {
	mu            sync.Mutex
	gone, damaged map[string]string // by point
	examined      chan holdfast.ExamineArgs
}

func (e *examiner) Look(context.Context, holdfast.ExamineArgs) (holdfast.Health, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return holdfast.Health{Unreadable: maps.Clone(e.gone)}, nil
}

func (e *examiner) Examine(_ context.Context, a holdfast.ExamineArgs) (holdfast.Health, error) {
	e.mu.Lock()
	h := holdfast.Health{Unreadable: maps.Clone(e.damaged)}
	e.mu.Unlock()
	e.examined <- a
	return h, nil
}

func (e *examiner) Asides(context.Context, holdfast.RepositoryRef) ([]holdfast.Aside, error) {
	return []holdfast.Aside{{Path: "/data/operational/site1.damaged-1", Bytes: 12345}}, nil
}

func (e *examiner) say(gone, damaged map[string]string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone, e.damaged = gone, damaged
}

// TestRestorePointsAreLost: a restore point that is not there any more, or cannot be
// read, says so, raises an alert, cannot be read or copied but deleted, and is itself
// again once it is back. It keeps no new one from being made.
func TestRestorePointsAreLost(t *testing.T) {
	t.Parallel()
	ticks, e := make(chan time.Time), &examiner{examined: make(chan holdfast.ExamineArgs)}
	p := servePoints(t, func(c *embedded.Config, _ *world) { c.Ticks, c.Examiner = ticks, e })
	tick := func() { ticks <- time.Now(); ticks <- time.Now() } // the second is taken when the first is dealt with
	p.site(t, "site1", "qemu:///system", "lab")
	p.collection(t, "lab", "rpc", "site1", p.vmID("web"))
	p.point(t, "lab", "rpc", "first", armcompute.RestorePointProperties{})
	id := p.store.asked[0].PointID
	go func() { ticks <- time.Now() }()
	if a := <-e.examined; len(a.Points) != 1 || a.Points[0] != id || a.ReadRate == 0 {
		t.Errorf("examined: %+v", a)
	}
	p.stands(t, "first", "Succeeded", "", 0)

	e.say(map[string]string{id: "It is gone."}, nil)
	tick()
	p.stands(t, "first", "Failed", "It is gone.", 1)
	disk := *p.disk(t, "first").Name
	if _, out, _ := p.send(t, "GET", "/subscriptions/"+p.sub+"/resourceGroups/lab/providers/Microsoft.Compute/restorePointCollections/rpc?api-version=2024-11-01&$expand=restorePoints", ""); !strings.Contains(fmt.Sprint(out), "failure:It is gone. If there is a copy") {
		t.Errorf("listed: %v", out)
	}
	p.refuses(t, []refused{
		{"access", "POST", "~G/providers/Microsoft.Compute/restorePointCollections/rpc/restorePoints/first/diskRestorePoints/" + disk + "/beginGetAccess?api-version=2024-03-02", `{"access":"Read","durationInSeconds":60}`, 409, "DataDamaged", "It is gone. If there is a copy"},
	})
	p.point(t, "lab", "rpc", "second", armcompute.RestorePointProperties{}) // nothing says that it is too soon
	p.stands(t, "second", "Succeeded", "", 1)
	_, site, _ := p.send(t, "GET", "/subscriptions/"+p.sub+"/providers/Holdfast.Site/sites/site1?api-version=2026-11-01", "")
	if text := fmt.Sprint(site); !strings.Contains(text, "unreadable:1") || !strings.Contains(text, "site1.damaged-1") || !strings.Contains(text, "12345") {
		t.Errorf("the site: %v", site)
	}

	e.say(nil, nil)
	tick()
	p.stands(t, "first", "Succeeded", "", 0)

	e.say(map[string]string{id: "It is gone."}, nil)
	tick()
	gone, err := p.points.BeginDelete(t.Context(), "lab", "rpc", "first", nil)
	done(t, gone, err)
	tick()
	p.stands(t, "second", "Succeeded", "", 0) // the alert is over
}

// disk is the first disk of a restore point.
func (p *points) disk(t *testing.T, point string) *armcompute.DiskRestorePoint {
	t.Helper()
	return page(t, p.disks.NewListByRestorePointPager("lab", "rpc", point, nil)).Value[0]
}

// stands fails unless a restore point is in a state for a reason, and so many alerts of
// restore points are open.
func (p *points) stands(t *testing.T, name, state, why string, alerts int) {
	t.Helper()
	got, err := p.points.Get(t.Context(), "lab", "rpc", name, &armcompute.RestorePointsClientGetOptions{Expand: to.Ptr(armcompute.RestorePointExpandOptionsInstanceView)})
	if err != nil {
		t.Fatal(err)
	}
	status := got.Properties.InstanceView.Statuses[0]
	if *got.Properties.ProvisioningState != state || !strings.Contains(*status.Message, why) || *status.Code != "ProvisioningState/"+state {
		t.Errorf("%s is %s: %s; want %s: %s", name, *got.Properties.ProvisioningState, *status.Message, state, why)
	}
	_, out, _ := p.send(t, "GET", "/subscriptions/"+p.sub+"/providers/Microsoft.AlertsManagement/alerts?api-version=2019-05-05-preview&monitorCondition=Fired", "")
	if n := strings.Count(fmt.Sprint(out), string(holdfast.AlertPoints)); n != alerts {
		t.Errorf("%d alerts, want %d: %v", n, alerts, out)
	}
}
