package check

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"holdfast/internal/objstore"
)

// State is how a promise fared.
type State string

// The states.
const (
	Kept     State = "kept"
	Broken   State = "broken"
	NotTried State = "not tried"
)

// Finding is what one check saw.
type Finding struct {
	Name   string        `json:"name"`
	Says   string        `json:"says"`
	State  State         `json:"state"`
	Detail string        `json:"detail,omitempty"` // what was seen, or why it wasn't tried
	Took   time.Duration `json:"tookNanoseconds"`
}

// Report is what Try found out about a store.
type Report struct {
	Store    string    `json:"store"`
	Fit      bool      `json:"fit"`      // Holdfast can keep backups there
	Verdict  string    `json:"verdict"`  // the same in a sentence
	Advice   []string  `json:"advice"`   // what would make it better; may be empty
	Findings []Finding `json:"findings"` // in the order of All
	Lock     bool      `json:"objectLock"`
	// ConditionalPut is whether the server itself lets only one of many
	// creators win; nil where the question makes no sense.
	ConditionalPut *bool    `json:"conditionalPut,omitempty"`
	Speed          *Speed   `json:"speed,omitempty"`
	Left           []string `json:"left"` // scratch objects that could not be deleted
}

// Options changes a Try. The zero value is the usual case.
type Options struct {
	SkipSpeed bool
	Bytes     int64         // to be written and read for the speed; 0 = 128 MiB
	Parallel  int           // transfers at once for the speed; 0 = 4
	Done      func(Finding) // told of each finding as it comes; nil = not
}

// Try runs all checks, and measures, on a store in use, below a scratch
// directory "holdfast-check-…" of its own, which it deletes at the end, also
// when ctx ends early. Nothing else in the store is touched.
//
// What the checks find is in the report; the error says that it could not be
// found out: the store refuses access, is full, or ctx has ended.
func Try(ctx context.Context, s objstore.Store, opt Options) (Report, error) {
	r := Report{Store: s.String(), Lock: s.Features().Retention, Advice: []string{}, Left: []string{}}
	scratch := scope{s, "holdfast-check-" + strings.ToLower(rand.Text()) + "/"}
	err := r.tryAll(ctx, scratch, opt)
	if err == nil && !opt.SkipSpeed {
		r.Speed, err = measure(ctx, scope{scratch, "speed/"}, opt)
	}
	left, cerr := clean(context.WithoutCancel(ctx), scratch)
	r.Left = append(r.Left, left...)
	if err = errors.Join(err, cerr); err != nil {
		return r, fmt.Errorf("check %s: %w", s, err)
	}
	if r.ConditionalPut, err = conditionalPut(ctx, s); err != nil {
		return r, fmt.Errorf("check %s: %w", s, err)
	}
	r.judge()
	return r, nil
}

func (r *Report) tryAll(ctx context.Context, scratch scope, opt Options) error {
	for _, c := range All() {
		f := Finding{Name: c.Name, Says: c.Says, State: NotTried}
		var err error
		if c.Retention && !r.Lock {
			f.Detail = "the store has no object lock"
		} else {
			start := time.Now()
			err = c.Run(ctx, scope{scratch, c.Name + "/"})
			f.Took, f.State = time.Since(start), Kept
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, objstore.ErrPermission) || errors.Is(err, objstore.ErrFull) {
			return err
		}
		if err != nil {
			f.State, f.Detail = Broken, err.Error()
		}
		r.Findings = append(r.Findings, f)
		if opt.Done != nil {
			opt.Done(f)
		}
	}
	return nil
}

// clean deletes all scratch objects, for two minutes at most, and returns the
// names of those that stay.
func clean(ctx context.Context, scratch scope) (left []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for try := range 4 {
		if left, err = deleteAll(ctx, scratch); err != nil {
			return left, err
		}
		if len(left) == 0 {
			return nil, removeDirs(ctx, scratch)
		}
		if try == 0 { // locks of ours end soon
			select {
			case <-time.After(lockFor + 2*time.Second):
			case <-ctx.Done():
				return left, ctx.Err()
			}
		}
	}
	return left, nil
}

func deleteAll(ctx context.Context, scratch scope) (left []string, err error) {
	infos, err := list(ctx, scratch, "", "")
	if err != nil {
		return nil, fmt.Errorf("clean up: %w", err)
	}
	for _, info := range infos {
		if err := scratch.Delete(ctx, info.Name); err != nil && !errors.Is(err, objstore.ErrNotExist) {
			left = append(left, scratch.dir+info.Name)
		}
	}
	return left, nil
}

// as returns the store under its wrappers as a T, if it is one.
func as[T any](s objstore.Store) (T, bool) {
	for {
		if t, ok := s.(T); ok {
			return t, true
		}
		w, ok := s.(interface{ Unwrap() objstore.Store })
		if !ok {
			var none T
			return none, false
		}
		s = w.Unwrap()
	}
}

// conditionalPut asks the store, if it can say.
func conditionalPut(ctx context.Context, s objstore.Store) (*bool, error) {
	c, ok := as[interface {
		ConditionalPut(context.Context) (bool, error)
	}](s)
	if !ok {
		return nil, nil
	}
	honoured, err := c.ConditionalPut(ctx)
	return &honoured, err
}

// removeDirs removes the directories of the scratch objects, where a store has
// such things.
func removeDirs(ctx context.Context, scratch scope) error {
	d, ok := as[interface {
		RemoveEmptyDirs(ctx context.Context, dir string) error
	}](scratch.inner)
	if !ok {
		return nil
	}
	dir := strings.TrimSuffix(scratch.dir, "/")
	if err := d.RemoveEmptyDirs(ctx, dir); err != nil && !errors.Is(err, objstore.ErrNotExist) {
		return err
	}
	return nil
}

// judge says what the findings mean.
func (r *Report) judge() {
	var broken []string
	for _, f := range r.Findings {
		if f.State == Broken {
			broken = append(broken, f.Name)
		}
	}
	r.Fit = len(broken) == 0
	r.Verdict = "Fit: the store kept every promise that Holdfast rests on."
	if !r.Fit {
		r.Verdict = fmt.Sprintf("NOT fit: keep no backups here. The store broke %d of the promises that Holdfast rests on: %s.",
			len(broken), strings.Join(broken, ", "))
	}
	advise := func(when bool, text string) {
		if when {
			r.Advice = append(r.Advice, text)
		}
	}
	advise(!r.Lock, "Objects can't be locked here: whoever gets the credentials can delete the backups. Object storage with object lock (S3), version-level immutability (Azure) or object retention (Google) prevents that.")
	advise(r.ConditionalPut != nil && !*r.ConditionalPut, "The server has no conditional put (If-None-Match): Holdfast makes sure in another way, with four more requests for each object.")
	advise(r.Speed != nil && min(r.Speed.PutMBps, r.Speed.GetMBps) < 20, "Less than 20 MB/s: a machine of 100 GB takes more than an hour to back up in full or to restore.")
	advise(len(r.Left) > 0, "Some scratch objects could not be deleted; they are named below. Delete them by hand.")
}
