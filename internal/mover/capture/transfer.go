package capture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/dustin/go-humanize"

	"holdfast"
	"holdfast/internal/mover"
	"holdfast/internal/repository"
	"holdfast/internal/snapshot"
)

// doubts is how many blocks of each incremental disk are read although the
// bitmap calls them unchanged. A bitmap that misses a tenth of what it calls
// unchanged is caught with 97 % in one backup.
const doubts = 32

// transfer copies every disk of the snapshot into the repository.
func (r *run) transfer(ctx context.Context, w *repository.Writer, s *snapshot.Snapshot, man *mover.Manifest) error {
	var total, before int64
	for _, d := range s.Disks {
		total += d.Size
	}
	facts := mover.DiskFacts(s.Domain)
	for _, d := range s.Disks {
		if err := r.doubt(ctx, &d, man); err != nil {
			return fmt.Errorf("disk %s: %w", d.Target, err)
		}
		spec := repository.DiskSpec{
			Name: d.Target, ReadRate: r.args.ReadRate,
			Progress: func(done, _ int64) { r.progress.Bytes(before+done, total) },
		}
		if r.before != nil {
			spec.Base = r.before.Disk(d.Target)
		}
		stats, err := w.Disk(ctx, spec, d.Source)
		if err != nil {
			return fmt.Errorf("disk %s: %w", d.Target, err)
		}
		before += d.Size
		i := slices.IndexFunc(facts, func(f holdfast.DiskFact) bool { return f.Target == d.Target })
		facts[i].Size, facts[i].Secret = d.Size, d.Secret
		man.Disks = append(man.Disks, mover.ManifestDisk{Fact: facts[i], Cost: holdfast.DiskResult{
			LUN: facts[i].LUN, Target: d.Target, Pool: facts[i].Pool, Path: facts[i].Path, Size: d.Size, Incremental: d.Incremental, Reason: d.Reason,
			Read: stats.Read, New: stats.New, Stored: stats.Stored, Secret: d.Secret,
		}})
	}
	return nil
}

// doubt checks a sample of what the bitmap of an incremental disk calls
// unchanged. A disk whose bitmap lies is read in full, and its user is told.
func (r *run) doubt(ctx context.Context, d *snapshot.Disk, man *mover.Manifest) error {
	if !d.Incremental {
		return nil
	}
	if r.before == nil || r.before.Disk(d.Target) == nil {
		return errors.New("it is incremental but the point before does not hold it")
	}
	base, err := r.repo.OpenDisk(ctx, *r.before, d.Target)
	if err != nil {
		return err
	}
	err = snapshot.SelfCheck(ctx, d.Source, base, doubts, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())))
	if why := distrust(err); why != "" {
		d.Incremental, d.Reason, d.Source = false, why, snapshot.Full(d.Source)
		man.Warnings = append(man.Warnings, fmt.Sprintf("Disk %s was read in full: %s.", d.Target, why))
		r.Log.Error("the change tracking of a disk cannot be trusted", "vm", r.args.VM.Name, "disk", d.Target, "err", err)
		return nil
	}
	return err
}

// distrust says why a disk has to be read in full after its sample; "" when it
// need not be. A base that is damaged fails the run (run.make).
func distrust(err error) string {
	if !errors.Is(err, snapshot.ErrTracking) {
		return ""
	}
	return err.Error() + "; report this, it should never happen"
}

// maxOutput is how much of a script's output a job keeps, bytes.
const maxOutput = 2000

// tellScripts puts into the job what the guest's own scripts said.
func (r *run) tellScripts(runs []snapshot.ScriptRun) {
	for _, s := range runs {
		how := "succeeded"
		if s.Err != "" {
			how = s.Err
		}
		if out := s.Output; out != "" {
			how += ": " + out[:min(len(out), maxOutput)]
		}
		r.progress.Property("Script "+s.Path, how)
	}
}

// tell puts into the job what its user wants to know.
func (r *run) tell(man mover.Manifest) {
	r.progress.Property("Consistency", fmt.Sprintf("%s (%s)", man.Consistency, man.Reason))
	r.progress.Property("Frozen for", man.FrozenFor.Round(time.Millisecond).String())
	for _, f := range man.VM.Disks {
		switch {
		case f.Temporary:
			r.progress.Property("Disk "+f.Target, "temporary: left out")
		case f.NVMe:
			r.progress.Property("Disk "+f.Target, "a device of the host: left out")
		}
	}
	var read, fresh, stored int64
	for _, d := range man.Disks {
		how := "incremental"
		if !d.Cost.Incremental {
			how = "full"
			if d.Cost.Reason != "" {
				how += ": " + d.Cost.Reason
			}
		}
		r.progress.Property("Disk "+d.Fact.Target, fmt.Sprintf("%s; read %s, new %s, stored %s", how, size(d.Cost.Read), size(d.Cost.New), size(d.Cost.Stored)))
		read, fresh, stored = read+d.Cost.Read, fresh+d.Cost.New, stored+d.Cost.Stored
	}
	r.progress.Property("Bytes read", fmt.Sprint(read))
	r.progress.Property("Bytes new", fmt.Sprint(fresh))
	r.progress.Property("Bytes stored", fmt.Sprint(stored))
	for _, w := range man.Warnings {
		r.progress.Warn(w)
	}
}

func size(n int64) string { return humanize.IBytes(uint64(n)) }
