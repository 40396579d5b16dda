package backup_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"holdfast"
	"holdfast/internal/matrix"
	"holdfast/internal/repository"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestTwoPhases: a backup is a point in the operational repository, of use from
// then on, and a copy of it in the vault; the next is read by what has changed.
func TestTwoPhases(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "ACT-05", "STO-04")
	l := newLab(t)
	l.write(1)
	a := l.args()
	p := &told{}
	p.onReached = func() {
		l.wantIn(l.site, "when the snapshot is complete", "001")
		l.wantIn(l.vault, "when the snapshot is complete")
		l.restoredNow(t, "001", 1)
	}
	phases := map[string]bool{}
	p.onBytes = func(done, total int64) {
		if done > 0 && done <= total {
			p.mu.Lock()
			defer p.mu.Unlock()
			phases[p.tasks[len(p.tasks)-1]] = true
		}
	}
	res, err := l.backup(a, p)
	must(t, err)
	if !slices.Equal(p.tasks, []string{"Take Snapshot", "Transfer data to vault"}) || !phases["Take Snapshot*"] || !phases["Transfer data to vault"] {
		t.Errorf("tasks %q, with progress %v; a snapshot can be cancelled while it is read, a transfer can't", p.tasks, phases)
	}
	if first, ok := p.reached[0].(holdfast.BackupResult); !ok || len(p.reached) != 1 || first.PointID != res.PointID || !first.Time.Equal(res.Time) || !p.full() {
		t.Errorf("reached %+v, came to %+v, %v", p.reached, res, p.properties)
	}
	l.wantIn(l.site, "then", "001")
	l.wantIn(l.vault, "then", "001")

	l.write(2)
	res, p = l.made(l.args())
	if p.full() || res.Disks[0].Read > 2*block || len(res.Disks) != 1 {
		t.Errorf("the second backup: %v, %+v", p.properties, res.Disks)
	}
	if names := l.checkpoints(); len(names) != 1 {
		t.Errorf("checkpoints %v, want one", names)
	}
	l.restored("001", false, 1)
	l.restored("002", false, 1, 2)
	if p := l.restored("002", true, 1, 2); !strings.HasPrefix(p.properties["Read from"], "snapshot") {
		t.Errorf("read from %q", p.properties["Read from"])
	}
	// Asked again, as after a crash before the row was written, it answers the same.
	again, p := l.made(holdfast.BackupArgs{Site: a.Site, VM: a.VM, Repository: a.Repository, Operational: a.Operational, Series: a.Series, PointID: "002", Want: a.Want})
	if !again.Time.Equal(res.Time) || len(p.reached) != 0 {
		t.Errorf("again: %+v", again)
	}
}

// restoredNow is restored while another job of the machine runs.
func (l *lab) restoredNow(t *testing.T, id string, moments ...byte) {
	t.Helper()
	l.restored(id, true, moments...)
}

// TestRestorePointsAndBackupsAreOneChain: whoever asks for a point, it is read by
// what has changed since the one before, and there is one checkpoint.
func TestRestorePointsAndBackupsAreOneChain(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write(1)
	l.made(l.args())
	l.write(2)
	p := &told{}
	res, err := l.restorePoint(l.args().RestorePoint(), p)
	must(t, err)
	if p.full() || len(res.Disks) != 1 || len(res.VM.Disks) != 2 || !slices.Equal(p.tasks, []string{"Take Snapshot"}) {
		t.Errorf("a restore point after a backup: %v, %+v, %q", p.properties, res, p.tasks)
	}
	l.write(3)
	_, p = l.made(l.args())
	if p.full() {
		t.Errorf("a backup after a restore point: %v", p.properties)
	}
	l.wantIn(l.site, "then", "001", "002", "003")
	l.wantIn(l.vault, "then", "001", "003")
	if names := l.checkpoints(); len(names) != 1 {
		t.Errorf("checkpoints %v, want one", names)
	}
	l.restored("003", false, 1, 2, 3)

	// A point without the disk leaves the next one nothing to go on from.
	none := l.args().RestorePoint()
	none.ExcludeLUNs = []int{0}
	if res, err := l.restorePoint(none, &told{}); err != nil || len(res.Disks) != 1 || res.Disks[0].LUN != -1 {
		t.Errorf("a point without the data disk: %+v, %v", res, err)
	}
	if _, p = l.made(l.args()); !p.full() {
		t.Errorf("after a point without the disk: %v", p.properties)
	}
	l.restored("005", false, 1, 2, 3)

	// To another site, and once more for what has changed.
	other := holdfast.RepositoryRef{URL: l.site.URL + "-2", KeyID: "operational-2"}
	for _, id := range []string{"002", "003"} {
		a := holdfast.RestorePointArgs{Site: l.siteRef(), VM: none.VM, Operational: other, PointID: id, Source: &holdfast.PointRef{Repository: l.site, PointID: id}}
		first, err := l.restorePoint(a, &told{})
		must(t, err)
		again, err := l.restorePoint(a, &told{})
		if err != nil || !again.Time.Equal(first.Time) || id == "003" && first.Disks[0].Read > 2*block {
			t.Errorf("copy of %s: %+v, then %+v, %v", id, first, again, err)
		}
	}
	l.wantIn(other, "the other site", "002", "003")
}

// TestTransferGoesOn: when the vault is away the point is there, is copied without
// another snapshot when the backup is tried again, and else by the next one.
func TestTransferGoesOn(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	vault, away := filepath.Join(l.dir, "vault"), filepath.Join(l.dir, "away")
	l.write(1)
	must(t, os.Rename(vault, away))
	l.serve()
	a := l.args()
	p := &told{}
	if _, err := l.backup(a, p); err == nil || len(p.reached) != 1 {
		t.Fatalf("without its vault: %v, reached %v", err, p.reached)
	}
	first := p.reached[0].(holdfast.BackupResult)
	if done, err := l.mover().Undo(t.Context(), a); done || !errors.Is(err, holdfast.ErrUnsure) {
		t.Errorf("the vault, which cannot be asked, has the point: %v, %v", done, err)
	}
	never := a
	never.PointID = "never"
	if done, err := l.mover().Undo(t.Context(), never); done || err != nil {
		t.Errorf("the vault cannot have what was never captured: %v, %v", done, err)
	}
	l.wantIn(l.site, "the vault is away", "001")
	l.restored("001", true, 1)
	l.serve() // kill -9: the one before is gone
	must(t, os.Rename(away, vault))
	l.write(2)
	res, p := l.made(a)
	if !res.Time.Equal(first.Time) || !slices.Equal(p.tasks, []string{"Take Snapshot", "Transfer data to vault"}) {
		t.Errorf("tried again: %+v, was %+v, %q", res, first, p.tasks)
	}
	l.restored("001", false, 1) // and not 2

	must(t, os.Rename(vault, away))
	l.serve()
	waits := []string{}
	for moment := byte(3); moment < 5; moment++ {
		l.write(moment)
		a := l.args()
		if _, err := l.backup(a, &told{}); err == nil {
			t.Fatal("a backup without its vault succeeded")
		}
		waits = append(waits, a.PointID)
	}
	must(t, os.Rename(away, vault))
	l.serve()
	l.write(5)
	a = l.args()
	a.Waiting = append([]string{"000"}, waits...) // one that is nowhere
	res, p = l.made(a)
	if !slices.Equal(res.Copied, waits) || !slices.Equal(res.Lost, []string{"000"}) || len(p.warnings) != 1 {
		t.Errorf("%+v, warnings %q", res, p.warnings)
	}
	l.restored(waits[0], false, 1, 2, 3)
	l.restored(waits[1], false, 1, 2, 3, 4)
	l.restored(a.PointID, false, 1, 2, 3, 4, 5)
}

// TestOperationalRepositoryIsLost: the next backup reads in full and says why; the
// vault keeps what it has, and gets only what it hasn't; then all is as before.
func TestOperationalRepositoryIsLost(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write(1)
	l.made(l.args())
	place := filepath.Join(l.dir, "operational")
	for n, lose := range []func(){
		func() { must(t, os.RemoveAll(place)) },
		func() { must(t, os.Remove(place+"/config.a")); must(t, os.Remove(place+"/config.b")); l.serve() },
		func() { must(t, os.Remove(filepath.Join(l.dir, "keys", "operational.key"))); l.serve() },
	} {
		lose()
		id := l.args()
		_, p := l.made(id)
		if !p.full() || len(p.warnings) == 0 && n < 2 || p.properties["Read in full"] == "" {
			t.Errorf("loss %d: %v, warnings %q", n, p.properties, p.warnings)
		}
		if !strings.HasPrefix(p.properties["Vault"], "new 0 B") {
			t.Errorf("loss %d: the vault stored again what it has: %s", n, p.properties["Vault"])
		}
		if _, p := l.made(l.args()); p.full() || len(p.warnings) > 0 {
			t.Errorf("loss %d, the backup after the next: %v, %q", n, p.properties, p.warnings)
		}
		l.restored(id.PointID, true, 1)
		l.restored("001", true, 1) // from the vault
	}
}

// TestRestoreFallsBack: what the operational repository has no more, or cannot
// read, is read from the vault.
func TestRestoreFallsBack(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write(1)
	l.made(l.args())
	l.write(2)
	l.made(l.args())

	if res := l.remove(holdfast.DeletePointsArgs{Instant: []holdfast.PointRef{{Repository: l.site, PointID: "001"}, {Repository: l.site, PointID: "gone"}}}); res.Deleted != 0 {
		t.Errorf("%+v", res)
	}
	l.wantIn(l.site, "after the instant tier's time", "002")
	l.wantIn(l.vault, "after the instant tier's time", "001", "002")
	if p := l.restored("001", true, 1); p.properties["Read from"] != "vault" || len(p.warnings) > 0 {
		t.Errorf("gone from the instant tier: %v, %q", p.properties, p.warnings)
	}
	l.write(3)
	if _, p := l.made(l.args()); p.full() {
		t.Errorf("the backup after that: %v", p.properties)
	}

	packs, err := filepath.Glob(filepath.Join(l.dir, "operational", "packs", "*", "*"))
	must(t, err)
	if len(packs) == 0 {
		packs, err = filepath.Glob(filepath.Join(l.dir, "operational", "packs", "*"))
		must(t, err)
	}
	for _, pack := range packs {
		must(t, os.Remove(pack))
	}
	l.serve()
	if p := l.restored("003", true, 1, 2, 3); !strings.HasSuffix(p.properties["Read from"], "vault") || len(p.warnings) == 0 {
		t.Errorf("damaged: %v, %q", p.properties, p.warnings)
	}
	// The next backup stores again what was lost.
	l.write(4)
	id := l.args()
	_, p := l.made(id)
	t.Logf("the backup on a damaged repository: %v, %q", p.properties, p.warnings)
	l.restored(id.PointID, false, 1, 2, 3, 4)
	if p := l.restored(id.PointID, true, 1, 2, 3, 4); !strings.HasPrefix(p.properties["Read from"], "snapshot") || len(p.warnings) > 0 {
		t.Errorf("after the repair: %v, %q", p.properties, p.warnings)
	}
	must(t, os.RemoveAll(filepath.Join(l.dir, "operational")))
	l.serve()
	l.remove(holdfast.DeletePointsArgs{PointIDs: []string{"001"}, Instant: []holdfast.PointRef{{Repository: l.site, PointID: "003"}}})
	l.wantIn(l.vault, "deleted while the operational repository is lost", "002", "003", id.PointID)
}

// TestVaultFromBefore: a vault whose points were made before there was an
// operational repository goes on; the first backup reads in full and says so.
func TestVaultFromBefore(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write(1)
	a := l.args()
	a.Operational = l.vault // as it was: the checkpoint is the vault's point's
	_, err := l.restorePoint(a.RestorePoint(), &told{})
	must(t, err)
	vault, err := l.opener.Repository(t.Context(), l.vault)
	must(t, err)
	w, err := vault.Begin(t.Context(), repository.PointSpec{ID: "000", Series: "item", Created: a.Expires})
	must(t, err)
	_, err = w.Commit(t.Context(), repository.Manifest{})
	must(t, err)
	old := l.checkpoints()
	l.write(2)
	_, p := l.made(l.args())
	if !p.full() || p.properties["Read in full"] == "" || slices.Equal(l.checkpoints(), old) || len(l.checkpoints()) != 1 {
		t.Errorf("the first: %v, checkpoints %v, were %v", p.properties, l.checkpoints(), old)
	}
	l.write(3)
	res, p := l.made(l.args())
	if p.full() {
		t.Errorf("the second: %v", p.properties)
	}
	l.restored(res.PointID, false, 1, 2, 3)

	older := l.args()
	older.Operational = holdfast.RepositoryRef{}
	var refused *holdfast.Error
	if _, err := l.backup(older, &told{}); !errors.As(err, &refused) || refused.Hint == "" {
		t.Errorf("a job of before: %v", err)
	}
}

// TestTwoAtOnce: a backup and a restore point of one machine, asked for at the
// same time, go one after the other.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write(1)
	a, b := l.args(), l.args().RestorePoint()
	var together sync.WaitGroup
	var errs [2]error
	together.Go(func() { _, errs[0] = l.mover().Run(t.Context(), a, &told{}) })
	together.Go(func() { _, errs[1] = l.restorePoint(b, &told{}) })
	together.Wait()
	must(t, errors.Join(errs[0], errs[1]))
	l.wantIn(l.site, "then", "001", "002")
	if names := l.checkpoints(); len(names) != 1 {
		t.Errorf("checkpoints %v, want one", names)
	}
	l.restored("001", true, 1)
}

// TestFull: which of the two repositories is full is said; of the point there is
// then nothing, or its first half, and when there is room again all goes on.
func TestFull(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write(1)
	l.made(l.args())
	for n, place := range []holdfast.RepositoryRef{l.site, l.vault} {
		l.write(byte(2 + n))
		l.full.Store(place.URL, true)
		a := l.args()
		_, err := l.backup(a, &told{})
		var said *holdfast.Error
		if !errors.As(err, &said) || said.Kind != holdfast.Full || strings.Contains(said.Message, "operational") != (place == l.site) {
			t.Errorf("%s is full: %v", place.KeyID, err)
		}
		if has := slices.Contains(l.has(l.site), a.PointID); has == (place == l.site) || slices.Contains(l.has(l.vault), a.PointID) {
			t.Errorf("%s is full: the operational repository has the point: %v; the vault has %v", place.KeyID, has, l.has(l.vault))
		}
		l.full.Delete(place.URL)
	}
	a := l.args()
	a.Waiting = []string{"003"}
	res, p := l.made(a)
	if p.full() || !slices.Equal(res.Copied, a.Waiting) {
		t.Errorf("when there is room: %v, %+v", p.properties, res)
	}
	l.wantIn(l.vault, "when there is room", "001", "003", "004")
	l.restored("003", false, 1, 2, 3)
}
