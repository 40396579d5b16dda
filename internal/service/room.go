package service

import (
	"hash/fnv"
	"slices"
	"time"

	"holdfast/internal/catalog"
	"holdfast/internal/resource"
)

// maxSpread is over how long the backups of one moment are spread at most.
const maxSpread = 15 * time.Minute

// spreadOf is over how long the backups of one moment begin: a second for each
// item, so that a host and a store don't meet them all at once, and that few
// machines don't wait.
func spreadOf(items int) time.Duration { return min(time.Duration(items)*time.Second, maxSpread) }

// jitter is how much later than its schedule says an item's backup begins: always
// as much for the same item.
func jitter(id string, spread time.Duration) time.Duration {
	if spread < time.Second {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // a hash does not fail
	return time.Duration(h.Sum64()%uint64(spread/time.Second)) * time.Second
}

// rooms is how many more backups each site may begin. A site is one host: its
// limit is the host's.
type rooms struct {
	free   map[string]int    // by location
	siteOf map[string]string // location, by the id of a vault in lower case
}

// site is the location at which an item is backed up.
func (r rooms) site(i Item) string {
	if i.Site != "" {
		return i.Site
	}
	return r.siteOf[resource.Lower(i.Vault)]
}

// roomsOf counts the backups of items that run, by whoever asked for them.
func roomsOf(tx *catalog.Tx, items []Item) (rooms, error) {
	r := rooms{map[string]int{}, map[string]string{}}
	sites, err := resource.List(tx, catalog.Query{Type: resource.TypeSite}, decodeSite)
	if err != nil {
		return r, err
	}
	for _, site := range sites {
		r.free[resource.Location(site.Name)] = site.backups()
	}
	vaults, err := resource.List(tx, catalog.Query{Type: resource.TypeVault}, decodeVault)
	if err != nil {
		return r, err
	}
	for _, v := range vaults {
		r.siteOf[resource.Lower(v.ID)] = v.Location
	}
	running, err := catalog.Collect(tx, func(scan func(...any) error) (item string, err error) { err = scan(&item); return item, err },
		`SELECT subject FROM job WHERE exclusive >= 'backup:' AND exclusive < 'backup;' AND ended = 0 AND operation = 'Backup'`)
	for _, i := range items {
		if len(running) > 0 && slices.Contains(running, resource.Lower(i.ID)) {
			r.free[r.site(i)]--
		}
	}
	return r, err
}

// choose picks the runs that may begin, those that have waited longest first,
// and says how many have to wait on. What cannot be read takes no room.
func (r rooms) choose(due []dueRun) (now []dueRun, waiting int) {
	slices.SortStableFunc(due, func(a, b dueRun) int { return a.at.Compare(b.at) })
	for _, d := range due {
		site := r.site(d.item)
		switch {
		case d.broken != nil:
			now = append(now, d)
		case r.free[site] > 0:
			r.free[site]--
			now = append(now, d)
		default:
			waiting++
		}
	}
	return now, waiting
}
