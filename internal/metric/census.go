package metric

import (
	"context"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/service"
)

// census asks, whenever it is read, what there is.
type census struct{ Config }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// What there is. An item is named by its vault and by the group and name of its VM.
var (
	items    = desc("holdfast_items", "Protected items, by vault and state.", "vault", "state")
	omitted  = desc("holdfast_items_omitted", "Items that have no series of their own, because there are too many.")
	success  = desc("holdfast_item_last_success_timestamp_seconds", "When the last backup of an item was made that ended well, since 1970.", "vault", "resource_group", "vm")
	age      = desc("holdfast_item_newest_point_age_seconds", "How old the newest recovery point of an item is.", "vault", "resource_group", "vm")
	failing  = desc("holdfast_item_failing", "1 if the last backup of an item failed.", "vault", "resource_group", "vm")
	points   = desc("holdfast_vault_points", "Recovery points, by vault.", "vault")
	used     = desc("holdfast_vault_bytes", "Bytes in the repository of a vault: in its directory or, in an object store, by its own books.", "vault")
	running  = desc("holdfast_jobs_running", "Jobs that run now, by operation.", "operation")
	waiting  = desc("holdfast_alerts_undelivered", "Deliveries of alerts that have not been taken yet.")
	free     = desc("holdfast_storage_free_bytes", "Room left where scratch files or a vault are.", "kind", "name")
	capacity = desc("holdfast_storage_size_bytes", "Size of the file system where scratch files or a vault are.", "kind", "name")
	limits   = desc("holdfast_limits_info", "1 for the limits that hold: azure or extended.", "limits")
	most     = desc("holdfast_item_points_limit", "How many recovery points an item may have.")
	busy     = desc("holdfast_site_backups", "Backups that a site runs now.", "site")
	room     = desc("holdfast_site_backups_limit", "How many scheduled backups a site begins before others wait.", "site")
	all      = []*prometheus.Desc{items, omitted, success, age, failing, points, used, running, waiting, free, capacity, limits, most, busy, room}
)

// Describe names the series.
func (c *census) Describe(out chan<- *prometheus.Desc) {
	for _, d := range all {
		out <- d
	}
}

// Collect asks.
func (c *census) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	now, err := c.Stats(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(items, err)
		return
	}
	send := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	c.items(now.Items, send)
	for vault, n := range now.Points {
		send(points, float64(n), vault)
	}
	for operation, n := range now.Running {
		send(running, float64(n), operation)
	}
	send(waiting, float64(now.Undelivered))
	send(limits, 1, string(now.Limits))
	send(most, float64(now.MaxPoints))
	for _, s := range now.Sites {
		send(busy, float64(s.Running), s.Site)
		send(room, float64(s.Max), s.Site)
	}
	for _, p := range c.Places() {
		if p.Size >= 0 { // else it is an object store
			send(free, float64(p.Free), p.Kind, p.Label)
			send(capacity, float64(p.Size), p.Kind, p.Label)
		}
		if p.Kind == "vault" && p.Used >= 0 {
			send(used, float64(p.Used), p.Label)
		}
	}
}

func (c *census) items(list []service.ItemStats, send func(*prometheus.Desc, float64, ...string)) {
	type state struct{ vault, state string }
	count := map[state]int{}
	for _, i := range list {
		count[state{i.Vault, i.State}]++
	}
	for s, n := range count {
		send(items, float64(n), s.vault, s.state)
	}
	slices.SortFunc(list, func(a, b service.ItemStats) int { return a.LastPoint.Compare(b.LastPoint) })
	send(omitted, float64(max(0, len(list)-MaxItems)))
	for _, i := range list[:min(len(list), MaxItems)] {
		labels := []string{i.Vault, i.Group, i.VM}
		if i.Failing {
			send(failing, 1, labels...)
		} else {
			send(failing, 0, labels...)
		}
		if !i.LastPoint.IsZero() {
			send(success, float64(i.LastPoint.UnixMilli())/1000, labels...)
			send(age, max(0, c.Clock().Sub(i.LastPoint).Seconds()), labels...)
		}
	}
}
