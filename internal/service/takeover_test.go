package service

import (
	"strings"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/matrix"
	"holdfast/internal/resource"
)

// TestTakeOver: a vault over a repository with points has items for them, whose
// points stay until somebody says otherwise; what cannot be read is told.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "SEC-04")
	y := newYear(t)
	at := y.clock()
	point := func(vm, series string, hours int) holdfast.FoundPoint {
		made := at.Add(time.Duration(hours) * time.Hour)
		return holdfast.FoundPoint{Series: series, VM: holdfast.VMRef{UUID: "u-" + vm, Name: vm}, Backup: holdfast.BackupResult{PointID: newPointID(made), Time: made, Consistency: holdfast.CrashConsistent}}
	}
	y.found = holdfast.ProvisionResult{RepositoryID: "r", Points: []holdfast.FoundPoint{point("db", "s1", -900), point("mail", "s2", -800), point("db", "s1", -700), point("db", "s3", -600)}, Unread: []string{"broken"}}
	sub := resource.IDOf(y.vault()).Subscription
	v, _, err := y.PutVault(t.Context(), sub, "lab", "old", VaultInput{Location: "home", RepositoryURL: "s3://bucket"})
	if err != nil {
		t.Fatal(err)
	}
	items, err := y.Items(t.Context(), v.ID, "", 0)
	if err != nil || len(items) != 2 || items[0].VM != "db" || items[0].Series != "s3" || items[0].State() != "ProtectionStopped" || !items[0].LastPoint.Equal(at.Add(-600*time.Hour)) {
		t.Fatalf("%+v, %v", items, err)
	}
	for range 40 {
		y.pass(24 * time.Hour)
		y.tick()
	}
	if points, err := y.Points(t.Context(), items[0].ID, PointFilter{}); err != nil || len(points) != 3 || len(y.deleted) > 35 {
		t.Errorf("after 40 days: %d points, %v; deleted %v", len(points), err, y.deleted)
	}
	jobs, err := resource.Read(t.Context(), y.Catalog, func(tx *catalog.Tx) ([]job.Job, error) {
		return job.List(tx, job.Filter{Scope: v.ID, State: job.Failed})
	})
	if err != nil || len(jobs) != 1 || !strings.Contains(jobs[0].Failure.Message, "1 points of the repository cannot be read and are not listed: broken") {
		t.Errorf("what could not be read: %+v, %v", jobs, err)
	}
	if _, err := y.PutItem(t.Context(), v.ID, "IaasVMContainer;"+resource.ItemName("lab", "db"), "VM;"+resource.ItemName("lab", "db"), Protect{Source: resource.InGroup(sub, "lab", resource.TypeVM, "db"), PolicyID: resource.PolicyID(v.ID, "DefaultPolicy")}); err != nil {
		t.Errorf("going on: %v", err)
	}

	y.found.Points = []holdfast.FoundPoint{point("web", "s4", -1)}
	if _, _, err := y.PutVault(t.Context(), sub, "lab", "second", VaultInput{Location: "home", RepositoryURL: "s3://other"}); holdfast.KindOf(err) != holdfast.Conflict {
		t.Errorf("points of a machine that another vault protects: %v", err)
	}
	for _, in := range []VaultInput{{Location: "home", KeyURL: "hashivault://k", KeyID: "k"}, {Location: "home", KeyURL: "base64key://c2VjcmV0"}} {
		if _, _, err := y.PutVault(t.Context(), sub, "lab", "third", in); holdfast.KindOf(err) != holdfast.Invalid || strings.Contains(err.Error(), "c2VjcmV0") {
			t.Errorf("%+v: %v", in, err)
		}
	}
}
