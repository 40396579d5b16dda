package service

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/resource"
)

// tiers are the item's points, oldest first: i, v or iv.
func (y *year) tiers() (all []string) {
	y.t.Helper()
	points, err := y.Points(y.t.Context(), y.item, PointFilter{})
	if err != nil {
		y.t.Fatal(err)
	}
	for _, p := range slices.Backward(points) {
		in := ""
		if p.InInstantTier() {
			in += "i"
		}
		if !p.Waiting {
			in += "v"
		}
		all = append(all, in)
		y.mu.Lock()
		if p.InInstantTier() != y.instant[p.Name] || p.Waiting == y.vaulted[p.Name] {
			y.t.Errorf("point %s is listed in %q; it is in the operational repository: %v, in the vault: %v", p.Name, in, y.instant[p.Name], y.vaulted[p.Name])
		}
		y.mu.Unlock()
	}
	return all
}

func (y *year) wantTiers(what string, want ...string) {
	y.t.Helper()
	if got := y.tiers(); !slices.Equal(got, want) {
		y.t.Errorf("%s: %q, want %q", what, got, want)
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	n := 0
	for _, w := range want {
		if w[0] == 'i' {
			n++
		}
	}
	if len(y.instant) != n {
		y.t.Errorf("%s: the operational repository has %v, want %d points", what, slices.Sorted(maps.Keys(y.instant)), n)
	}
}

// TestInstantTier: points leave the operational repository two days after they
// were made, once the vault has them and there is a newer one; never by the clock
// alone, and never while the vault hasn't got them.
func TestInstantTier(t *testing.T) {
	t.Parallel()
	y := newYear(t)
	y.days(4)
	y.wantTiers("four days", "v", "v", "iv", "iv")

	y.cut = errors.New("the vault is away")
	y.days(3)
	y.wantTiers("the vault is away", "v", "v", "v", "iv", "i", "i", "i")
	if i, err := y.Item(t.Context(), y.item); err != nil || i.LastBackupStatus != "Failed" || !i.LastPoint.After(y.clock().Add(-24*time.Hour)) {
		t.Errorf("the item: %+v, %v", i, err)
	}

	y.cut = nil
	y.days(1)
	if got := y.asked[len(y.asked)-1].Waiting; len(got) != 3 {
		t.Errorf("the next backup was asked to copy %v, too; want the 3 that wait", got)
	}
	y.wantTiers("the vault is back", "v", "v", "v", "iv", "iv")

	y.fail = errors.New("the machine is away")
	y.days(30)
	y.wantTiers("a month without a backup", "v", "v", "v", "iv", "iv")
	y.fail = nil
	y.days(1)
	y.wantTiers("the machine is back", "iv")
}

// TestInstantTierFollowsThePolicy: its days are those of the policy; without one
// nothing goes.
func TestInstantTierFollowsThePolicy(t *testing.T) {
	t.Parallel()
	y := newYear(t)
	y.days(2)
	longer := []byte(`{"instantRpRetentionRangeInDays":5,` + dailyFor(9)[1:])
	if _, err := y.PutPolicy(t.Context(), y.vault(), "daily", longer); err != nil {
		t.Fatal(err)
	}
	y.days(4)
	y.wantTiers("five days", "v", "iv", "iv", "iv", "iv", "iv")
	if err := y.put(Protect{Hold: Stopped}); err != nil {
		t.Fatal(err)
	}
	y.days(20)
	y.wantTiers("stopped", "v", "iv", "iv", "iv", "iv", "iv")
}

// TestTransferIsTriedAgain: a backup that failed while it copied goes on with the
// same point; one whose point is gone begins anew.
func TestTransferIsTriedAgain(t *testing.T) {
	t.Parallel()
	y := newYear(t)
	y.cut = errors.New("the vault is away")
	y.days(2)
	y.wantTiers("both wait", "i", "i")
	failed := y.jobs("Backup")[0]
	y.cut = nil
	again, err := y.RetryJob(t.Context(), y.vault(), failed.ID)
	if err != nil {
		t.Fatal(err)
	}
	y.settle()
	first, second := y.asked[1], y.asked[2]
	if second.PointID != first.PointID || !slices.Equal(second.Waiting, []string{y.points[0]}) || y.made() != 2 {
		t.Errorf("first %+v, again %+v (job %s), %d snapshots", first, second, again.ID, y.made())
	}
	y.wantTiers("both are copied", "iv", "iv")

	y.cut = errors.New("the vault is away")
	y.days(1)
	y.cut = nil
	failed = y.jobs("Backup")[0]
	clear(y.instant) // lost
	y.days(1)        // the next one finds out
	points := y.listed()
	if len(points) != 3 || slices.Contains(points, y.points[2]) {
		t.Errorf("points %v are listed; that of %s is nowhere", points, y.points[2])
	}
	if _, err := y.RetryJob(t.Context(), y.vault(), failed.ID); err != nil {
		t.Fatal(err)
	}
	y.settle()
	if y.made() != 5 {
		t.Errorf("%d snapshots, want a fifth", y.made())
	}
}

// TestInstantPointsAreDeleted with their item, and those that nobody listed once
// there is a newer point.
func TestInstantPointsAreDeleted(t *testing.T) {
	t.Parallel()
	y := newYear(t)
	y.days(1)
	y.pass(time.Hour)
	left := newPointID(y.clock())
	y.instant[left] = true // a server died before it could tell of it, and its job was cancelled
	err := y.Catalog.Update(t.Context(), func(tx *catalog.Tx) error {
		j, err := job.Record(tx, job.Spec{Operation: "Backup", Scope: y.vault(), Subject: y.item})
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`UPDATE job SET attempts = 2 WHERE id = ?`, j.ID); err != nil {
			return err
		}
		return y.backupDone(tx, j.ID, holdfast.BackupArgs{PointID: left, Operational: y.operational(Site{Name: "home"})}, holdfast.BackupResult{}, job.ErrCanceled)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := y.CleanUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	y.settle()
	if !y.instant[left] {
		t.Error("what a backup left is deleted though it is the newest point of the machine")
	}
	y.days(1)
	y.wantTiers("one later", "iv", "iv")
	if i, err := y.Item(t.Context(), y.item); err != nil || len(i.Left) != 0 {
		t.Errorf("left: %+v, %v", i.Left, err)
	}

	v, err := resource.Read(t.Context(), y.Catalog, func(tx *catalog.Tx) (Vault, error) { return findVault(tx, y.vault()) })
	if err != nil {
		t.Fatal(err)
	}
	_, err = resource.Write(t.Context(), y.Catalog, func(tx *catalog.Tx) (job.Job, error) {
		i, err := findItem(tx, y.item)
		if err != nil {
			return job.Job{}, err
		}
		return y.deleteNow(t.Context(), tx, v, i)
	})
	if err != nil {
		t.Fatal(err)
	}
	y.settle()
	if len(y.instant) != 0 || len(y.vaulted) != 0 {
		t.Errorf("of a deleted item there is %v in the operational repository, %v in the vault", y.instant, y.vaulted)
	}
}
