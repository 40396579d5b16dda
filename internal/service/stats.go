package service

import (
	"context"
	"strings"
	"time"

	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/limits"
	"holdfast/internal/notify"
	"holdfast/internal/resource"
)

// What becomes of a scheduled backup.
const (
	RunDue     = "due"     // its time had come
	RunStarted = "started" // it began
	RunMissed  = "missed"  // it was more than an hour late
)

// Stats is what there is now, for metrics. Vaults are named by their label.
type Stats struct {
	Items       []ItemStats
	Points      map[string]int // recovery points, by vault
	Running     map[string]int // jobs, by operation
	Undelivered int            // deliveries of alerts
	Limits      limits.Choice
	MaxPoints   int // of one item
	Sites       []SiteStats
}

// SiteStats is one site: how many backups it runs, and may run by schedule.
type SiteStats struct {
	Site         string
	Running, Max int
}

// ItemStats is one item.
type ItemStats struct {
	Vault, Group, VM, State string
	LastPoint               time.Time // the newest
	Failing                 bool      // its last backup failed
}

// label names a vault or a site shortly: its name, after its group if it is in
// one.
func label(id string) string {
	parsed := resource.IDOf(id)
	return strings.TrimPrefix(parsed.Group+"/"+parsed.Name(), "/")
}

// Stats counts what there is now.
func (s *Service) Stats(ctx context.Context) (Stats, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Stats, error) {
		out := Stats{Points: map[string]int{}, Running: map[string]int{}}
		items, err := resource.List(tx, catalog.Query{Type: resource.TypeItem}, decodeItem)
		if err != nil {
			return out, err
		}
		for _, i := range items {
			state := i.State()
			if !i.DeleteAfter.IsZero() {
				state = "SoftDeleted"
			}
			out.Items = append(out.Items, ItemStats{label(i.Vault), i.Group, i.VM, state, i.LastPoint, i.LastBackupStatus == "Failed"})
		}
		vaults, err := resource.List(tx, catalog.Query{Type: resource.TypeVault}, decodeVault)
		if err != nil {
			return out, err
		}
		for _, v := range vaults {
			if out.Points[label(v.ID)], err = tx.Count(catalog.Query{Type: resource.TypePoint, Under: strings.ToLower(v.ID)}); err != nil {
				return out, err
			}
		}
		running, err := job.List(tx, job.Filter{Running: true})
		if err != nil {
			return out, err
		}
		for _, j := range running {
			out.Running[j.Operation]++
		}
		if out.Sites, err = siteStats(tx, items); err != nil {
			return out, err
		}
		out.Limits, out.MaxPoints = s.Limits, s.maxPoints
		if out.Limits == "" {
			out.Limits = limits.Azure
		}
		out.Undelivered, err = notify.Waiting(tx)
		return out, err
	})
}

func siteStats(tx *catalog.Tx, items []Item) (all []SiteStats, err error) {
	rooms, err := roomsOf(tx, items)
	if err != nil {
		return nil, err
	}
	sites, err := resource.List(tx, catalog.Query{Type: resource.TypeSite}, decodeSite)
	for _, site := range sites {
		all = append(all, SiteStats{site.Name, site.backups() - rooms.free[resource.Location(site.Name)], site.backups()})
	}
	return all, err
}
