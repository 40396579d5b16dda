package service

import (
	"context"
	"strings"
	"time"

	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/notify"
)

// Stats is what there is now, for metrics.
type Stats struct {
	Items       []ItemStats
	Points      map[string]int // recovery points, by name of the vault
	Running     map[string]int // jobs, by operation
	Undelivered int            // alerts
}

// ItemStats is one item.
type ItemStats struct {
	Vault, VM, State string
	LastPoint        time.Time
	Failing          bool // its last backup failed
}

// Stats counts what there is now.
func (s *Service) Stats(ctx context.Context) (Stats, error) {
	return read(ctx, s, func(tx *catalog.Tx) (Stats, error) {
		out := Stats{Points: map[string]int{}, Running: map[string]int{}}
		items, err := list(tx, catalog.Query{Type: TypeItem}, decodeItem)
		if err != nil {
			return out, err
		}
		for _, i := range items {
			state := i.State()
			if !i.DeleteAfter.IsZero() {
				state = "SoftDeleted"
			}
			out.Items = append(out.Items, ItemStats{lastName(i.Vault), i.VM, state, i.LastPoint, i.LastBackupStatus == "Failed"})
		}
		vaults, err := list(tx, catalog.Query{Type: TypeVault}, decodeVault)
		if err != nil {
			return out, err
		}
		for _, v := range vaults {
			if out.Points[v.Name], err = tx.Count(catalog.Query{Type: TypePoint, Under: strings.ToLower(v.ID)}); err != nil {
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
		out.Undelivered, err = notify.Waiting(tx)
		return out, err
	})
}
