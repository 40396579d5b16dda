// Package examine finds out whether the points of operational repositories can be
// read: quickly, by whether they are there, and thoroughly, by reading everything
// that is stored.
//
// It promises to change nothing but what the repository knows of its damage, so
// that the next point stores again what the VM still has; and that storage which
// does not answer is an error and says nothing of the points.
package examine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"holdfast"
	"holdfast/internal/mover"
	"holdfast/internal/repository"
)

// Mover examines operational repositories.
type Mover struct {
	Opener *mover.Opener
}

// Look says which of the points are not there. Nothing of them is read.
func (m Mover) Look(ctx context.Context, a holdfast.ExamineArgs) (holdfast.Health, error) {
	_, h, err := m.look(ctx, a)
	return h, mover.Explain(err, a.Repository.URL)
}

// look opens the repository, and says which of the points it has not. The
// repository is nil if there is none that opens.
func (m Mover) look(ctx context.Context, a holdfast.ExamineArgs) (*repository.Repository, holdfast.Health, error) {
	ref, h := a.Repository, holdfast.Health{Unreadable: map[string]string{}}
	r, err := m.Opener.Existing(ctx, ref)
	var have []repository.Point
	if err == nil {
		have, err = r.Points(ctx, "")
	}
	why := ""
	switch {
	case err == nil:
		why = fmt.Sprintf("The operational repository at %s does not have it any more.", ref.URL)
	case mover.Absent(err):
		why = fmt.Sprintf("The operational repository is not at %s any more.", ref.URL)
	case ref.Revocable && holdfast.KindOf(err) == holdfast.WrongKey:
		return nil, h, err // its owner may give the key again
	case mover.Beyond(err):
		why = fmt.Sprintf("The operational repository at %s cannot be opened: %v.", ref.URL, err)
	default:
		return nil, h, err
	}
	there := map[string]bool{}
	for _, p := range have {
		there[p.ID] = true
	}
	for _, id := range a.Points {
		if !there[id] {
			h.Unreadable[id] = why
		}
	}
	if err != nil {
		return nil, h, nil
	}
	return r, h, nil
}

// Examine reads all that the repository stores, and compares it with its checksums:
// what is stored was opened before it was written. Once damage is known all is opened,
// which tells what was put right. A run that was broken off is gone on with by the next
// one.
func (m Mover) Examine(ctx context.Context, a holdfast.ExamineArgs) (holdfast.Health, error) {
	r, h, err := m.look(ctx, a)
	if err == nil && r == nil {
		err = holdfast.Errorf(holdfast.NotFound, a.Repository.URL, "There is no operational repository at %s that opens.", a.Repository.URL).
			WithHint("Put it back, or mount its file system; the next point of a VM of the site makes a new one.")
	}
	if err != nil {
		return h, mover.Explain(err, a.Repository.URL)
	}
	known, err := r.Damage(ctx)
	if err != nil {
		return h, mover.Explain(err, a.Repository.URL)
	}
	cache := r.CacheDir()
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return h, err
	}
	stats, err := r.Verify(ctx, repository.VerifyOptions{ChecksumsOnly: len(known) == 0, ReadRate: a.ReadRate, Resume: filepath.Join(cache, "examined-"+r.ID())})
	if err != nil && !errors.Is(err, repository.ErrDamaged) {
		return h, mover.Explain(err, a.Repository.URL)
	}
	if n := len(stats.Unread); n > 0 {
		return h, holdfast.Errorf(holdfast.Unreachable, a.Repository.URL, "%d packs of the operational repository at %s could not be read, %s first.", n, a.Repository.URL, stats.Unread[0]).
			WithHint("See the server's log, and the file system's.")
	}
	damage, err := r.Damage(ctx)
	if err != nil {
		return h, mover.Explain(err, a.Repository.URL)
	}
	for _, d := range damage {
		for _, hurt := range d.Points {
			h.Unreadable[hurt.Point] = fmt.Sprintf("Stored data that it needs is damaged: %s in %s.", d.Artifact, a.Repository.URL)
		}
	}
	return h, nil
}

// Asides lists what operational repositories of a place were set aside, those for
// disk encryption sets beside it, too.
func (Mover) Asides(ctx context.Context, ref holdfast.RepositoryRef) (all []holdfast.Aside, err error) {
	u, err := url.Parse(ref.URL)
	if err != nil || u.Scheme != "file" {
		return nil, nil // only directories are set aside
	}
	place := strings.TrimSuffix(u.Path, "/")
	entries, err := os.ReadDir(filepath.Dir(place))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, mover.Explain(err, ref.URL)
	}
	for _, e := range entries {
		if !e.IsDir() || !setAside(e.Name(), filepath.Base(place)) {
			continue
		}
		path := filepath.Join(filepath.Dir(place), e.Name())
		n, err := bytesIn(ctx, path)
		if err != nil {
			return nil, mover.Explain(err, path)
		}
		all = append(all, holdfast.Aside{Path: path, Bytes: n})
	}
	return all, nil
}

// setAside says whether a name is of what was set aside of a place, or of one for a
// disk encryption set.
func setAside(name, place string) bool {
	end := strings.LastIndex(name, mover.AsideSuffix)
	if end < 0 || !strings.HasPrefix(name[:end], place) {
		return false
	}
	set := strings.TrimPrefix(name[len(place):end], ".")
	return name[:end] == place || uuid.Validate(set) == nil
}

// bytesIn adds up the files below a directory; what goes meanwhile is not counted.
func bytesIn(ctx context.Context, dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil && e.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = e.Info(); err == nil {
				sum += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return sum, err
}
