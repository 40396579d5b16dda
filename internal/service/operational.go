package service

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
)

// operational is the site's operational repository. One in the data directory is
// made at first use.
func (s *Service) operational(site Site) holdfast.RepositoryRef {
	name := strings.ToLower(site.Name)
	place := url.URL{Scheme: "file", Path: s.defaultOperational(name)}
	if site.OperationalDir != "" {
		place.Path = site.OperationalDir
	}
	return holdfast.RepositoryRef{URL: place.String(), KeyID: "operational-" + name, Quick: true, Given: site.OperationalDir != ""}
}

// defaultOperational is where the operational repository of a site is when nobody
// says.
func (s *Service) defaultOperational(name string) string {
	return filepath.Join(s.DataDir, "operational", strings.ToLower(name))
}

const operationalMember = "properties.operationalDir"

func (s *Service) checkOperational(name string, site *Site) error {
	if dir := site.OperationalDir; dir != "" && (!filepath.IsAbs(dir) || filepath.Clean(dir) != dir || dir == "/") {
		return holdfast.Errorf(holdfast.Invalid, operationalMember, "%s is %q; it must be a plain absolute path.", operationalMember, dir).
			WithHint("Give a directory of its own, below the mount point of its file system.")
	}
	if site.OperationalDir == s.defaultOperational(name) {
		site.OperationalDir, site.operationalSaid = "", true
	}
	return nil
}

// makeOperational makes the operational repository of a site at a place that
// somebody chose, or finds it there. A site of which nothing is said keeps its
// place.
func (s *Service) makeOperational(ctx context.Context, site *Site) error {
	old, err := s.Site(ctx, site.Subscription, site.Name)
	if err != nil && holdfast.KindOf(err) != holdfast.NotFound {
		return err
	}
	if site.OperationalDir == "" && !site.operationalSaid {
		site.OperationalDir = old.OperationalDir
	}
	if site.OperationalDir == "" || site.OperationalDir == old.OperationalDir {
		return nil
	}
	if _, err := read(ctx, s, func(tx *catalog.Tx) (any, error) { return nil, s.mayMoveOperational(tx, old, *site) }); err != nil {
		return err // before anything is made
	}
	_, err = s.Provisioner.Provision(ctx, holdfast.ProvisionArgs{Repository: s.operational(*site)})
	return err
}

// mayMoveOperational refuses another place while the old one has what is nowhere
// else.
func (s *Service) mayMoveOperational(tx *catalog.Tx, old, site Site) error {
	from := s.operational(old)
	if old.ID == "" || from == s.operational(site) {
		return nil
	}
	why := ""
	points, err := list(tx, catalog.Query{Type: TypeRestorePoint}, decodeRestorePoint)
	if err != nil {
		return err
	}
	for _, p := range points {
		if p.Location == Location(old.Name) && s.at(old, p) == from {
			why = fmt.Sprintf("the restore point %s/%s", lastName(p.Collection), p.Name)
		}
	}
	running, err := job.List(tx, job.Filter{Operation: "Backup", Running: true})
	if err != nil {
		return err
	}
	for _, j := range running {
		var a holdfast.BackupArgs
		if err := json.Unmarshal(j.Args, &a); err != nil {
			return fmt.Errorf("args of job %s: %w", j.ID, err)
		}
		if a.Operational == from {
			why = "the point of the backup " + j.ID + ", which runs"
		}
	}
	instant, err := instantAt(tx, from)
	for _, p := range instant {
		if p.Waiting {
			why = fmt.Sprintf("the point %s of %s, which is not in its vault yet", p.Name, lastName(p.Item))
		}
	}
	if err != nil || why == "" {
		return err
	}
	return holdfast.Errorf(holdfast.Conflict, operationalMember, "The operational repository of the site %q cannot have another place: it alone has %s.", old.Name, why).
		WithHint("Delete its restore points, and let backups that run or wait for their vault end; then give the new place.")
}

// instantAt lists the recovery points that an operational repository has.
func instantAt(tx *catalog.Tx, at holdfast.RepositoryRef) (found []Point, err error) {
	points, err := list(tx, catalog.Query{Type: TypePoint}, decodePoint)
	for _, p := range points {
		if p.Instant == at {
			found = append(found, p)
		}
	}
	return found, err
}

// moveOperational lets a site have its operational repository at another place:
// recovery points that the old one has, too, are in their vault alone from then on.
func (s *Service) moveOperational(tx *catalog.Tx, old, site Site) error {
	if err := s.mayMoveOperational(tx, old, site); err != nil {
		return err
	}
	from := s.operational(old)
	if from == s.operational(site) {
		return nil
	}
	points, err := instantAt(tx, from)
	if err != nil {
		return err
	}
	for _, p := range points {
		p.Instant = holdfast.RepositoryRef{}
		if err := putPoint(tx, p); err != nil {
			return err
		}
	}
	_, err = tx.Delete(healthID(old, from)) // of what was there
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
	_, err = read(ctx, s, func(tx *catalog.Tx) (any, error) {
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
