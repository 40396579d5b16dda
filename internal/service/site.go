package service

import (
	"context"
	"strings"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/resource"
)

// Site is a libvirt host and what hangs on it: a region of its own.
type Site struct {
	resource.Stamp
	Subscription string `json:"subscription"`
	Name         string `json:"name"`
	URI          string `json:"uri"`                    // libvirt URI
	Group        string `json:"group"`                  // resource group where its machines appear
	ScratchDir   string `json:"scratchDir"`             // absolute, reached by this server and by QEMU
	ScratchLimit int64  `json:"scratchLimit,omitempty"` // of one backup, bytes; 0 is none
	ReadRate     int64  `json:"readRate,omitempty"`     // of one backup, bytes per second; 0 is no limit
	// OperationalDir is where its operational repository is, absolute; "" is the
	// server's choice.
	OperationalDir string `json:"operationalDir,omitempty"`
	// CollectRate is how fast storage is freed, bytes per second; 0 is defaultCollectRate.
	CollectRate int64 `json:"collectRate,omitempty"`
	// MaxBackups is how many scheduled backups run at once; 0 is defaultBackups.
	MaxBackups int `json:"maxBackups,omitempty"`
	// PoolClasses are the disk classes of its pools, by pool (Premium_LRS, …).
	PoolClasses map[string]string `json:"poolClasses,omitempty"`
	// WriteAccelerator says that write accelerated disks are backed up (STO-06).
	WriteAccelerator bool `json:"writeAccelerator,omitempty"`
	// EncryptedPools are those that encrypt what they hold (MGT-03).
	EncryptedPools []string `json:"encryptedPools,omitempty"`
}

// defaultBackups is how many backups a site runs at once when nobody says.
const defaultBackups = 4

// defaultCollectRate is how much a collection moves in a second at most when the
// site doesn't say, bytes: a collection has time, backups beside it have not.
const defaultCollectRate = 100 << 20

// Ref is what a mover needs to reach the site.
func (s Site) Ref() holdfast.SiteRef {
	return holdfast.SiteRef{Name: s.Name, URI: s.URI, ScratchDir: s.ScratchDir, ScratchLimit: s.ScratchLimit}
}

// backups is how many backups the site runs at once.
func (s Site) backups() int {
	if s.MaxBackups == 0 {
		return defaultBackups
	}
	return s.MaxBackups
}

// collectRate is how fast collections of the site's repositories go.
func (s Site) collectRate() int64 {
	if s.CollectRate == 0 {
		return defaultCollectRate
	}
	return s.CollectRate
}

// putSite writes a site as it is to be, and makes its group if there is none.
func putSite(tx *catalog.Tx, site Site) (Site, error) {
	sub := site.Subscription
	if _, err := resource.FindGroup(tx, sub, site.Group); holdfast.KindOf(err) == holdfast.NotFound && err != nil {
		if _, err := resource.PutGroup(tx, sub, resource.Group{Name: site.Group, Location: resource.Location(site.Name)}); err != nil {
			return site, err
		}
	} else if err != nil {
		return site, err
	}
	r, err := catalog.Write(tx, catalog.Resource{ID: resource.SiteID(sub, site.Name), Type: resource.TypeSite, Parent: resource.SubscriptionID(sub)}, site)
	site.Stamp = resource.StampOf(r)
	return site, err
}

// Site returns one site.
func (s *Service) Site(ctx context.Context, sub, name string) (Site, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Site, error) { return findSite(tx, sub, name) })
}

// SiteFacts asks a site what it has now.
func (s *Service) SiteFacts(ctx context.Context, site Site) (holdfast.DiscoverResult, error) {
	return s.Inventory.Discover(ctx, site.Ref())
}

// Sites lists the sites of a subscription; they are its locations.
func (s *Service) Sites(ctx context.Context, sub string) ([]Site, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) ([]Site, error) { return sitesIn(tx, sub) })
}

// sitesIn lists the sites of a subscription.
func sitesIn(tx *catalog.Tx, sub string) ([]Site, error) {
	return resource.List(tx, catalog.Query{Type: resource.TypeSite, Parent: resource.SubscriptionID(sub)}, decodeSite)
}

// findSite returns a site, or holdfast.NotFound.
func findSite(tx *catalog.Tx, sub, name string) (Site, error) {
	r, err := tx.Get(resource.SiteID(sub, name))
	if err != nil {
		if holdfast.KindOf(err) == holdfast.NotFound {
			err = holdfast.Errorf(holdfast.NotFound, name, "The site %q was not found.", name)
		}
		return Site{}, err
	}
	return decodeSite(r)
}

// siteAt returns the site that is a location, which a member of a request names.
func siteAt(tx *catalog.Tx, sub, member, location string) (Site, error) {
	site, err := findSite(tx, sub, resource.Location(location))
	if err == nil || holdfast.KindOf(err) != holdfast.NotFound {
		return site, err
	}
	sites, err := sitesIn(tx, sub)
	if err != nil {
		return Site{}, err
	}
	names := make([]string, len(sites))
	for i, s := range sites {
		names[i] = s.Name
	}
	hint := "Register a site first."
	if len(names) > 0 {
		hint = "Known locations: " + strings.Join(names, ", ") + "."
	}
	return Site{}, holdfast.Errorf(holdfast.Invalid, member, "The location %q is not a site of this subscription.", location).WithHint(hint)
}

// decodeSite reads a row.
func decodeSite(r catalog.Resource) (Site, error) {
	v, err := catalog.Decode[Site](r)
	v.Stamp = resource.StampOf(r)
	return v, err
}
