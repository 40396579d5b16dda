package service

import (
	"context"
	"fmt"
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

// late is how much after its time a scheduled backup begins without being missed.
const late = time.Hour

// AlertFilter picks alerts.
type AlertFilter = notify.Filter

// Delivery is what became of an alert on one channel.
type Delivery = notify.Delivery

// jobEnded tells of a job that ended, in the transaction which ends it. A vault
// may be told to raise no alerts for failed jobs.
func (s *Service) jobEnded(tx *catalog.Tx, j job.Job) error {
	if s.Ended != nil {
		tx.AfterCommit(func() { s.Ended(j) })
	}
	if j.State != job.Failed {
		return nil
	}
	v, err := findVault(tx, j.Scope)
	if err != nil {
		return resource.NotThere(err) // a job of no vault: who asked for it follows it
	}
	if v.Setting("monitoringSettings", "azureMonitorAlertSettings", "alertsForAllJobFailures") == "Disabled" {
		return nil
	}
	a := holdfast.Alert{Kind: holdfast.AlertFailed, About: "job:" + j.ID, Resource: j.Subject, Entity: j.Entity, Job: j.ID, Message: fmt.Sprintf("%s of %s failed.", j.Operation, j.Entity)}
	if r, err := tx.Get(j.Subject); err == nil {
		a.Resource = r.ID // in its own case
	}
	if j.Failure != nil {
		a.Message, a.Hint = fmt.Sprintf("%s of %s failed: %s", j.Operation, j.Entity, j.Failure.Message), j.Failure.Hint
	}
	_, err = s.Alerts.Raise(tx, a)
	return err
}

// recordFailed keeps a job that could not even begin, and tells of it.
func (s *Service) recordFailed(tx *catalog.Tx, spec job.Spec, refused error) error {
	j, err := job.RecordFailed(tx, spec, refused)
	if err != nil {
		return err
	}
	return s.jobEnded(tx, j)
}

// tellMissed tells, once, that a scheduled backup did not begin in its time.
func (s *Service) tellMissed(tx *catalog.Tx, i Item, at time.Time) error {
	behind := tx.Now().Sub(at)
	if behind <= late {
		return nil
	}
	_, err := s.Alerts.Raise(tx, holdfast.Alert{Kind: holdfast.AlertMissed, About: fmt.Sprintf("missed:%s:%d", i.ID, at.Unix()), Resource: i.ID, Entity: i.VM,
		Message: fmt.Sprintf("The backup of %s that was due at %s is %v late.", i.VM, at.UTC().Format(time.RFC3339), behind.Round(time.Minute)),
		Hint:    "The server was away, an earlier backup still runs, or the site has more to do than it may do at once."})
	return err
}

// countRun tells what became of a scheduled backup, once that is durable.
func (s *Service) countRun(tx *catalog.Tx, what string) {
	if s.Run != nil {
		tx.AfterCommit(func() { s.Run(what) })
	}
}

// deletionOf is what the alert of a soft-deleted item is about.
func deletionOf(i Item) string { return "deleted:" + i.ID }

// tellDeleted tells that an item was soft-deleted. A vault may be told to raise
// no such alerts.
func (s *Service) tellDeleted(tx *catalog.Tx, v Vault, i Item, a holdfast.Alert) error {
	if v.Setting("monitoringSettings", "classicAlertSettings", "alertsForCriticalOperations") == "Disabled" {
		return nil
	}
	a.Kind, a.About, a.Resource, a.Entity = holdfast.AlertSoftDelete, deletionOf(i), i.ID, i.VM
	_, err := s.Alerts.Raise(tx, a)
	return err
}

// AlertsOf lists alerts, newest first.
func (s *Service) AlertsOf(ctx context.Context, f AlertFilter) ([]holdfast.Alert, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) ([]holdfast.Alert, error) { return notify.List(tx, f) })
}

// Alert returns one alert of a subscription, and what became of it.
func (s *Service) Alert(ctx context.Context, scope, id string) (a holdfast.Alert, d []Delivery, err error) {
	_, err = resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (any, error) {
		if a, err = notify.Get(tx, id); err != nil {
			return nil, err
		}
		if !strings.HasPrefix(strings.ToLower(a.Resource)+"/", strings.ToLower(scope)+"/") {
			return nil, holdfast.Errorf(holdfast.NotFound, id, "The alert %q was not found.", id)
		}
		d, err = notify.Deliveries(tx, id)
		return nil, err
	})
	return a, d, err
}

// maxAlertChanges and maxComment bound what people may write on one alert.
const (
	maxAlertChanges = 100
	maxComment      = 1000 // bytes
)

// ChangeAlert says how far people are with an alert of a subscription. What it
// tells of lasts as long as it lasts.
func (s *Service) ChangeAlert(ctx context.Context, scope, id string, to holdfast.AlertState, comment string) (holdfast.Alert, []Delivery, error) {
	states := []holdfast.AlertState{holdfast.AlertNew, holdfast.AlertAcknowledged, holdfast.AlertClosed}
	n := slices.IndexFunc(states, func(s holdfast.AlertState) bool { return strings.EqualFold(string(s), string(to)) })
	if n < 0 {
		return holdfast.Alert{}, nil, holdfast.Errorf(holdfast.Invalid, "newState", "newState is %q; it is New, Acknowledged or Closed.", to)
	}
	if len(comment) > maxComment {
		return holdfast.Alert{}, nil, holdfast.Errorf(holdfast.Invalid, "comments", "comments has %d bytes; it takes %d.", len(comment), maxComment)
	}
	if _, _, err := s.Alert(ctx, scope, id); err != nil {
		return holdfast.Alert{}, nil, err
	}
	_, err := resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (holdfast.Alert, error) {
		a, err := notify.Get(tx, id)
		if err != nil || a.State() == states[n] && comment == "" {
			return a, err
		}
		if len(a.Changes) >= maxAlertChanges {
			return a, holdfast.Errorf(holdfast.Unsupported, id, "The alert %q was changed %d times; it is not changed any more.", id, maxAlertChanges)
		}
		return notify.Change(tx, a, holdfast.AlertChange{Time: tx.Now().UTC(), By: nameOr(resource.Caller(ctx), "somebody"), From: a.State(), To: states[n], Comment: comment})
	})
	if err != nil {
		return holdfast.Alert{}, nil, err
	}
	return s.Alert(ctx, scope, id)
}

// TestAlert raises an alert that is about nothing, tries to bring it out, and
// says what became of it.
func (s *Service) TestAlert(ctx context.Context, sub string) (holdfast.Alert, []Delivery, error) {
	if len(s.Alerts.Channels) == 0 {
		return holdfast.Alert{}, nil, holdfast.Errorf(holdfast.Unsupported, "alerts", "Alerts go nowhere: the server has neither a webhook nor a mail server to bring them to.").
			WithHint("Start it with holdfast serve --alert-webhook URL, or with --alert-smtp, --alert-from and --alert-to.")
	}
	id, err := resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (string, error) {
		a := holdfast.Alert{Kind: holdfast.AlertTest, About: "test", Resource: resource.SubscriptionID(sub), Entity: "test", Message: "This is a test: " + nameOr(resource.Caller(ctx), "somebody") + " asked for it.", Hint: "Nothing has to be done."}
		if err := s.Alerts.Resolve(tx, a.About); err != nil { // of a test before
			return "", err
		}
		return s.Alerts.Raise(tx, a)
	})
	if err != nil {
		return holdfast.Alert{}, nil, err
	}
	if err := s.Alerts.Deliver(ctx); err != nil {
		return holdfast.Alert{}, nil, err
	}
	return s.Alert(ctx, resource.SubscriptionID(sub), id)
}

// Place is a directory of this machine that can run out of room.
type Place struct {
	Path     string
	Kind     string // "scratch", "operational" or "vault"
	Resource string // ARM id of the site or vault that it is of
	Name     string // of that
	Label    string // Name, after its resource group if it is in one
}

// Places lists the directories of this machine that can run full: scratch
// directories, operational repositories, and vaults in directories.
func (s *Service) Places(ctx context.Context) ([]Place, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (all []Place, err error) {
		sites, err := resource.List(tx, catalog.Query{Type: resource.TypeSite}, decodeSite)
		if err != nil {
			return nil, err
		}
		for _, site := range sites {
			all = append(all, Place{site.ScratchDir, "scratch", site.ID, site.Name, label(site.ID)})
			if u, err := url.Parse(s.operational(site).URL); err == nil {
				all = append(all, Place{u.Path, "operational", site.ID, site.Name, label(site.ID)})
			}
		}
		vaults, err := resource.List(tx, catalog.Query{Type: resource.TypeVault}, decodeVault)
		for _, v := range vaults {
			if u, err := url.Parse(v.Repository.URL); err == nil && u.Scheme == "file" {
				all = append(all, Place{u.Path, "vault", v.ID, v.Name, label(v.ID)})
			}
		}
		return all, err
	})
}

// Stores lists the vaults in object stores; their paths are URLs.
func (s *Service) Stores(ctx context.Context) ([]Place, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (all []Place, err error) {
		vaults, err := resource.List(tx, catalog.Query{Type: resource.TypeVault}, decodeVault)
		for _, v := range vaults {
			if u, err := url.Parse(v.Repository.URL); err == nil && u.Scheme != "file" {
				all = append(all, Place{v.Repository.URL, "vault", v.ID, v.Name, label(v.ID)})
			}
		}
		return all, err
	})
}

// StoredIn is how many bytes a vault of Stores keeps.
func (s *Service) StoredIn(ctx context.Context, p Place) (int64, error) {
	v, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Vault, error) { return findVault(tx, p.Resource) })
	if err != nil {
		return 0, err
	}
	return s.Provisioner.Stored(ctx, v.Repository)
}

// nearlyFull is the share of a place below which it has little room left; it has
// enough again with twice as much.
const nearlyFull = 0.10

// Room says how much room a place has left, bytes. Once it is nearly full there
// is an alert, which is resolved when it has enough again.
func (s *Service) Room(ctx context.Context, p Place, free, total int64) error {
	share := float64(free) / float64(max(1, total))
	if share > nearlyFull && share <= 2*nearlyFull {
		return nil
	}
	_, err := resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (any, error) {
		about := "room:" + p.Kind + ":" + p.Path
		if share > nearlyFull {
			return nil, s.Alerts.Resolve(tx, about)
		}
		_, err := s.Alerts.Raise(tx, holdfast.Alert{Kind: holdfast.AlertNearlyFull, About: about, Resource: p.Resource, Entity: p.Name,
			Message: fmt.Sprintf("The %s directory of %s, %s, has %.0f %% of its room left.", p.Kind, p.Name, p.Path, share*100), Hint: "Make room there, or backups will fail."})
		return nil, err
	})
	return err
}
