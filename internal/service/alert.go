package service

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
)

// TypeAlert is the resource type of an alert.
const TypeAlert = TypeVault + "/backupAlerts"

const (
	// keepAlerts is how long alerts can be listed.
	keepAlerts = 90 * 24 * time.Hour
	// tryAlerts is how long one that nobody takes is tried.
	tryAlerts = 24 * time.Hour
	// late is how much after its time a scheduled backup begins without being missed.
	late = time.Hour
)

// Notifier brings alerts to people. An error leaves the alert to be tried again.
type Notifier interface {
	Notify(ctx context.Context, a holdfast.Alert) error
}

// Alert is an alert as it is kept: made in the transaction of what it tells, and
// delivered after that.
type Alert struct {
	Stamp
	holdfast.Alert
	Delivered time.Time `json:"delivered,omitzero"`
	GivenUp   bool      `json:"givenUp,omitempty"`
}

// unsent is where alerts are listed until they are delivered.
const unsent = "/alerts/unsent"

// raise keeps an alert of a vault.
func raise(tx *catalog.Tx, vault string, a holdfast.Alert) error {
	a.ID, a.Time = uuid.NewString(), tx.Now()
	if err := putAlert(tx, vault, Alert{Alert: a}); err != nil {
		return err
	}
	_, err := catalog.Write(tx, catalog.Resource{ID: unsent + "/" + a.ID, Type: "Holdfast.Alerts/unsent", Parent: unsent}, vault)
	return err
}

func alertID(vault, id string) string { return vault + "/backupAlerts/" + id }

func putAlert(tx *catalog.Tx, vault string, a Alert) error {
	_, err := catalog.Write(tx, catalog.Resource{ID: alertID(vault, a.Alert.ID), Type: TypeAlert, Parent: vault}, a)
	return err
}

func decodeAlert(r catalog.Resource) (Alert, error) {
	a, err := catalog.Decode[Alert](r)
	a.Stamp = stamp(r)
	return a, err
}

// raiseFailure tells that a job failed.
func raiseFailure(tx *catalog.Tx, vault, resource, entity, operation, jobID string, err error) error {
	a := holdfast.Alert{Kind: holdfast.AlertFailed, Resource: resource, Entity: entity, Job: jobID, Message: fmt.Sprintf("%s of %s failed.", operation, entity)}
	var e *holdfast.Error
	if errors.As(err, &e) { // its cause stays in the log
		a.Message, a.Hint = fmt.Sprintf("%s of %s failed: %s", operation, entity, e.Message), e.Hint
	}
	return raise(tx, vault, a)
}

// alertOf tells that a job failed, unless its user cancelled it.
func alertOf(tx *catalog.Tx, j Job, runErr error) error {
	if runErr == nil || holdfast.KindOf(runErr) == holdfast.Canceled {
		return nil
	}
	return raiseFailure(tx, j.Scope, j.Subject, j.Entity, j.Operation, j.ID, runErr)
}

// failedJob tells of the job of an id that it failed.
func failedJob(tx *catalog.Tx, id string, runErr error) error {
	j, err := job.Get(tx, id)
	if err != nil {
		return err
	}
	return alertOf(tx, j, runErr)
}

// Alerts lists the alerts of a vault, newest first, at most so many.
func (s *Service) Alerts(ctx context.Context, vault, after string, limit int) ([]Alert, error) {
	return read(ctx, s, func(tx *catalog.Tx) ([]Alert, error) {
		if _, err := findVault(tx, vault); err != nil {
			return nil, err
		}
		q := catalog.Query{Type: TypeAlert, Parent: vault, Limit: limit, Newest: true}
		if after != "" {
			q.After = alertID(vault, after)
		}
		return list(tx, q, decodeAlert)
	})
}

// Deliver brings the alerts to people that have not been yet, oldest first. One
// that nobody takes keeps the others and is given up after a day. Old alerts go.
func (s *Service) Deliver(ctx context.Context) error {
	type letter struct {
		id, vault string
		alert     Alert
	}
	letters, err := read(ctx, s, func(tx *catalog.Tx) ([]letter, error) {
		rows, err := tx.List(catalog.Query{Parent: unsent, Newest: true})
		if err != nil {
			return nil, err
		}
		var all []letter
		for n := len(rows) - 1; n >= 0; n-- {
			vault, err := catalog.Decode[string](rows[n])
			if err != nil {
				return nil, err
			}
			l := letter{id: rows[n].ID, vault: vault}
			if r, err := tx.Get(alertID(vault, lastName(l.id))); err == nil { // else its vault is gone
				if l.alert, err = decodeAlert(r); err != nil {
					return nil, err
				}
			}
			all = append(all, l)
		}
		return all, nil
	})
	if err != nil {
		return err
	}
	for _, l := range letters {
		var failed error
		if s.Notify != nil && l.alert.Alert.ID != "" {
			failed = s.Notify.Notify(ctx, l.alert.Alert)
		}
		now := s.Clock()
		if failed != nil && now.Sub(l.alert.Time) < tryAlerts {
			return fmt.Errorf("alert %s (%s): %w", l.alert.Alert.ID, l.alert.Kind, failed) // the next call goes on
		}
		_, err := write(ctx, s, func(tx *catalog.Tx) (any, error) {
			if _, err := tx.Delete(l.id); err != nil || l.alert.Alert.ID == "" {
				return nil, err
			}
			l.alert.Delivered, l.alert.GivenUp = now, failed != nil
			return nil, putAlert(tx, l.vault, l.alert)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// forgetAlerts drops the alerts of a vault that are old.
func forgetAlerts(tx *catalog.Tx, vault string) error {
	old, err := tx.List(catalog.Query{Type: TypeAlert, Parent: vault, To: tx.Now().Add(-keepAlerts), Limit: 1000})
	for _, r := range old {
		if _, err := tx.Delete(r.ID); err != nil {
			return err
		}
	}
	return err
}

// Place is where bytes are kept that can run out of room.
type Place struct {
	Path   string
	Vaults []string // ids of those that it is for
	What   string   // scratch directory or vault
}

// Places lists the directories of this machine that can run full: scratch
// directories and vaults in directories.
func (s *Service) Places(ctx context.Context) ([]Place, error) {
	return read(ctx, s, func(tx *catalog.Tx) (all []Place, err error) {
		vaults, err := list(tx, catalog.Query{Type: TypeVault}, decodeVault)
		if err != nil {
			return nil, err
		}
		sites, err := list(tx, catalog.Query{Type: TypeSite}, decodeSite)
		for _, site := range sites {
			p := Place{Path: site.ScratchDir, What: "scratch directory of the site " + site.Name}
			for _, v := range vaults {
				if v.Location == Location(site.Name) {
					p.Vaults = append(p.Vaults, v.ID)
				}
			}
			all = append(all, p)
		}
		for _, v := range vaults {
			if dir, ok := strings.CutPrefix(v.Repository.URL, "file://"); ok {
				all = append(all, Place{Path: dir, Vaults: []string{v.ID}, What: "directory of the vault " + v.Name})
			}
		}
		return all, err
	})
}

// nearlyFull is the share of a place below which it has little room left; it has
// enough again with twice as much.
const nearlyFull = 0.10

// Room says how much room a place has left, bytes. Once it is nearly full there
// is an alert, and another only after it had enough again.
func (s *Service) Room(ctx context.Context, p Place, free, total int64) error {
	if total <= 0 || len(p.Vaults) == 0 {
		return nil
	}
	share := float64(free) / float64(total)
	_, err := write(ctx, s, func(tx *catalog.Tx) (any, error) {
		mark := "/nearlyfull" + p.Path
		_, err := tx.Get(mark)
		if err != nil && notThere(err) != nil {
			return nil, err
		}
		marked := err == nil
		switch {
		case marked && share > 2*nearlyFull:
			_, err := tx.Delete(mark)
			return nil, err
		case marked || share > nearlyFull:
			return nil, nil
		}
		if _, err := catalog.Write(tx, catalog.Resource{ID: mark, Type: "Holdfast.Alerts/nearlyFull", Parent: "/nearlyfull"}, share); err != nil {
			return nil, err
		}
		return nil, raise(tx, p.Vaults[0], holdfast.Alert{Kind: holdfast.AlertNearlyFull, Resource: p.Path, Entity: p.What,
			Message: fmt.Sprintf("The %s, %s, has %.0f %% of its room left.", p.What, p.Path, share*100), Hint: "Make room, or backups will fail."})
	})
	return err
}
