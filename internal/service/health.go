package service

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/notify"
	"holdfast/internal/resource"
)

// Examiner says how the points of operational repositories are. What it cannot
// ask is an error and says nothing of them.
type Examiner interface {
	// Look says which of the points are not there any more. It is quick.
	Look(ctx context.Context, a holdfast.ExamineArgs) (holdfast.Health, error)
	// Examine reads everything that the repository stores.
	Examine(ctx context.Context, a holdfast.ExamineArgs) (holdfast.Health, error)
	// Asides lists what repositories of the place were set aside.
	Asides(ctx context.Context, ref holdfast.RepositoryRef) ([]holdfast.Aside, error)
}

// An operational repository is examined once there is a newer point, but not for
// more than a tenth of the time, and each week in any case.
const (
	examineShare = 10
	examineLeast = time.Minute
	examineMost  = 7 * 24 * time.Hour
)

const typeHealth = "Holdfast.Site/health"

// health is what the last examination of a site's operational repository found.
type health struct {
	Began time.Time     `json:"began"`
	Took  time.Duration `json:"took"`
	holdfast.Health
}

// due says whether the repository is to be examined, whose newest point was made
// at a time.
func (h health) due(now, newest time.Time) bool {
	since := now.Sub(h.Began.Add(h.Took))
	pause := min(max(examineShare*h.Took, examineLeast), examineMost)
	return h.Began.IsZero() || since < 0 || since >= examineMost || newest.After(h.Began) && since >= pause
}

func healthID(site Site, ref holdfast.RepositoryRef) string {
	return site.ID + "/health/" + ref.KeyID
}

// healthOf is what is known of a repository of a site; the zero value is nothing.
func healthOf(tx *catalog.Tx, site Site, ref holdfast.RepositoryRef) (health, error) {
	h, _, err := catalog.Read[health](tx, healthID(site, ref))
	if err != nil {
		return health{}, resource.NotThere(err)
	}
	return h, nil
}

// forgetHealth forgets what is known of a repository of a site.
func forgetHealth(tx *catalog.Tx, site Site, ref holdfast.RepositoryRef) error {
	_, err := tx.Delete(healthID(site, ref))
	return err
}

// examined is an operational repository of a site and what is to be asked of it.
type examined struct {
	site   Site
	args   holdfast.ExamineArgs
	points []RestorePoint // that are to be readable there
	lost   bool           // some of the site's are known not to be
	known  health
	newest time.Time // point
}

// toExamine lists the sites with the restore points that are to be readable there.
func (s *Service) toExamine(tx *catalog.Tx) ([]examined, error) {
	sites, err := resource.List(tx, catalog.Query{Type: resource.TypeSite}, decodeSite)
	if err != nil {
		return nil, err
	}
	points, err := resource.List(tx, catalog.Query{Type: resource.TypeRestorePoint}, decodeRestorePoint)
	if err != nil {
		return nil, err
	}
	points = slices.DeleteFunc(points, func(p RestorePoint) bool { return !p.listed() })
	items, err := resource.List(tx, catalog.Query{Type: resource.TypeItem}, decodeItem)
	if err != nil {
		return nil, err
	}
	rooms, err := roomsOf(tx, nil)
	if err != nil {
		return nil, err
	}
	var all []examined
	for _, site := range sites {
		own := examined{site: site, args: holdfast.ExamineArgs{Repository: s.operational(site), ReadRate: site.collectRate()}}
		for _, i := range items {
			if rooms.site(i) == resource.Location(site.Name) {
				own.newest = later(own.newest, i.LastPoint)
			}
		}
		all = append(all, s.withPoints(own, points)...)
	}
	for i, e := range all {
		if all[i].known, err = healthOf(tx, e.site, e.args.Repository); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// withPoints gives a site's own repository its restore points, and adds those for
// disk encryption sets.
func (s *Service) withPoints(own examined, points []RestorePoint) []examined {
	here, lost := []examined{own}, false
	for _, p := range points {
		if p.Location != resource.Location(own.site.Name) {
			continue
		}
		at := s.at(own.site, p)
		n := slices.IndexFunc(here, func(e examined) bool { return e.args.Repository == at })
		if n < 0 {
			n, here = len(here), append(here, examined{site: own.site, args: holdfast.ExamineArgs{Repository: at, ReadRate: own.args.ReadRate}})
		}
		e := &here[n]
		e.points, e.args.Points = append(e.points, p), append(e.args.Points, p.Result.PointID)
		e.newest, lost = later(e.newest, p.Updated), lost || p.Lost
	}
	for i := range here {
		here[i].lost = lost
	}
	return here
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// LookAtPoints tells of restore points that are not there any more, and of those
// that are there again.
func (s *Service) LookAtPoints(ctx context.Context) error {
	return s.eachRepository(ctx, func(e examined) error {
		var h holdfast.Health
		var err error
		if len(e.args.Points) > 0 {
			h, err = s.Examiner.Look(ctx, e.args)
		}
		if err != nil {
			return err
		}
		return s.judge(ctx, e, h, nil)
	})
}

// ExamineDue reads the operational repositories whose time it is, and tells of
// restore points that cannot be read.
func (s *Service) ExamineDue(ctx context.Context) error {
	return s.eachRepository(ctx, func(e examined) error {
		began := s.Clock()
		if e.newest.IsZero() || !e.known.due(began, e.newest) { // nothing was ever made there, or it is too soon
			return nil
		}
		h, err := s.Examiner.Examine(ctx, e.args)
		if err != nil {
			return err
		}
		return s.judge(ctx, e, h, &health{Began: began.UTC(), Took: max(0, s.Clock().Sub(began)), Health: h})
	})
}

func (s *Service) eachRepository(ctx context.Context, f func(examined) error) error {
	if s.Examiner == nil {
		return nil
	}
	all, err := resource.Read(ctx, s.Catalog, s.toExamine)
	for _, e := range all {
		if one := f(e); one != nil {
			err = errors.Join(err, fmt.Errorf("the operational repository of site %s: %w", e.site.Name, one))
		}
	}
	return err
}

// judge applies what was found of a site's points. found is set by an examination;
// what the last one found lasts until the next.
func (s *Service) judge(ctx context.Context, e examined, h holdfast.Health, found *health) error {
	bad := map[string]string{}
	if found == nil {
		maps.Copy(bad, e.known.Unreadable)
	}
	maps.Copy(bad, h.Unreadable)
	changed := judged(e.points, bad)
	if len(changed) == 0 && found == nil && !e.over(ctx, s) {
		return nil
	}
	_, err := resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (any, error) {
		if _, err := findSite(tx, e.site.Subscription, e.site.Name); err != nil {
			return nil, resource.NotThere(err)
		}
		if found != nil {
			if _, err := catalog.Write(tx, catalog.Resource{ID: healthID(e.site, e.args.Repository), Type: typeHealth, Parent: e.site.ID}, *found); err != nil {
				return nil, err
			}
		}
		for _, p := range changed {
			if err := putJudged(tx, p.ID, bad); err != nil {
				return nil, err
			}
		}
		return nil, s.tellUnreadable(tx, e.site, len(changed) > 0)
	})
	return err
}

// over says that an alert is open, though all points of the site can be read: those
// that it told of were deleted.
func (e examined) over(ctx context.Context, s *Service) bool {
	open, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (bool, error) { return notify.Open(tx, unreadable(e.site)) })
	return err == nil && open && !e.lost
}

// judged are those points of which something else is to be said now.
func judged(points []RestorePoint, bad map[string]string) (changed []RestorePoint) {
	for _, p := range points {
		why, lost := bad[p.Result.PointID]
		switch {
		case !p.listed() || lost == p.Lost:
			continue
		case lost:
			p.State, p.Lost, p.Failure = PointFailed, true, &job.Failure{Kind: holdfast.Damaged, Target: p.ID, Message: why, Hint: unreadableHint}
		default:
			p.State, p.Lost, p.Failure = PointSucceeded, false, nil
		}
		changed = append(changed, p)
	}
	return changed
}

// putJudged judges a point as it is now, which may be gone or going.
func putJudged(tx *catalog.Tx, id string, bad map[string]string) error {
	p, err := findRestorePoint(tx, id)
	if err != nil {
		return resource.NotThere(err)
	}
	for _, p := range judged([]RestorePoint{p}, bad) {
		if _, err := putRestorePoint(tx, p); err != nil {
			return err
		}
	}
	return nil
}

// unreadable is what the alert of a site's restore points is about.
func unreadable(site Site) string { return "points:" + site.ID }

const unreadableHint = "If there is a copy of the repository's directory, put it back; another restore point of the VM stores again what the VM still has. What cannot be read then is lost: delete those restore points."

// maxNamed is how many restore points an alert names.
const maxNamed = 5

// lostAt are the points of a site that cannot be read.
func lostAt(tx *catalog.Tx, site Site) (lost []RestorePoint, err error) {
	points, err := resource.List(tx, catalog.Query{Type: resource.TypeRestorePoint}, decodeRestorePoint)
	for _, p := range points {
		if p.Lost && p.Location == resource.Location(site.Name) {
			lost = append(lost, p)
		}
	}
	return lost, err
}

// tellUnreadable tells of the points of a site that cannot be read, anew when they
// have become others.
func (s *Service) tellUnreadable(tx *catalog.Tx, site Site, others bool) error {
	lost, err := lostAt(tx, site)
	if err != nil || len(lost) > 0 && !others {
		return err
	}
	if err := s.Alerts.Resolve(tx, unreadable(site)); err != nil || len(lost) == 0 {
		return err
	}
	var names []string
	for _, p := range lost[:min(len(lost), maxNamed)] {
		names = append(names, resource.LastName(p.Collection)+"/"+p.Name)
	}
	text := strings.Join(names, ", ")
	if n := len(lost) - maxNamed; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	_, err = s.Alerts.Raise(tx, holdfast.Alert{Kind: holdfast.AlertPoints, About: unreadable(site), Resource: site.ID, Entity: site.Name,
		Message: fmt.Sprintf("Restore points of the site %s cannot be read: %s. %s", site.Name, text, lost[0].Failure.Message), Hint: unreadableHint})
	return err
}

// Operational is what a site's operational repository is found to be.
type Operational struct {
	Dir        string
	Examined   time.Time // when all of it was read; zero is never
	Unreadable int       // restore points
	Asides     []holdfast.Aside
}

// OperationalOf says how the operational repository of a site is.
func (s *Service) OperationalOf(ctx context.Context, site Site) (o Operational, err error) {
	ref := s.operational(site)
	if u, err := url.Parse(ref.URL); err == nil {
		o.Dir = u.Path
	}
	_, err = resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (any, error) {
		h, err := healthOf(tx, site, ref)
		if err != nil {
			return nil, err
		}
		o.Examined = h.Began
		lost, err := lostAt(tx, site)
		o.Unreadable = len(lost)
		return nil, err
	})
	if err != nil || s.Examiner == nil {
		return o, err
	}
	places := []holdfast.RepositoryRef{ref}
	if ref.Given { // those of disk encryption sets are where it would be otherwise
		usual := url.URL{Scheme: "file", Path: s.defaultOperational(site.Name)}
		places = append(places, holdfast.RepositoryRef{URL: usual.String()})
	}
	for _, at := range places {
		more, err := s.Examiner.Asides(ctx, at)
		if err != nil {
			return o, err
		}
		o.Asides = append(o.Asides, more...)
	}
	return o, nil
}
