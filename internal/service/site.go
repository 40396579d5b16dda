package service

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"holdfast"
	"holdfast/internal/catalog"
)

// Site is a libvirt host and what hangs on it: a region of its own.
type Site struct {
	Stamp
	Subscription string `json:"subscription"`
	Name         string `json:"name"`
	URI          string `json:"uri"`                    // libvirt URI
	Group        string `json:"group"`                  // resource group where its machines appear
	ScratchDir   string `json:"scratchDir"`             // absolute, reached by this server and by QEMU
	ScratchLimit int64  `json:"scratchLimit,omitempty"` // of one backup, bytes; 0 is none
	ReadRate     int64  `json:"readRate,omitempty"`     // of one backup, bytes per second; 0 is no limit
	// OperationalDir is where its operational repository is, absolute; "" is the
	// server's choice.
	OperationalDir  string `json:"operationalDir,omitempty"`
	operationalSaid bool   // that it is the server's choice
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

// The least that the limits of a site may be: below them no backup ends.
const (
	minScratchLimit = 16 << 20
	minReadRate     = 1 << 20
)

// PutSite registers a libvirt host as a site, or changes one. The host is asked
// before anything is stored: one that does not answer is refused.
func (s *Service) PutSite(ctx context.Context, sub, name string, site Site) (out Site, created bool, err error) {
	if err := s.checkSite(name, &site); err != nil {
		return out, false, err
	}
	site.Subscription, site.Name = sub, name
	if _, err := s.Subscription(ctx, sub); err != nil {
		return out, false, err
	}
	if _, err := s.Inventory.Discover(ctx, site.Ref()); err != nil {
		return out, false, err
	}
	if err := s.makeOperational(ctx, &site); err != nil {
		return out, false, err
	}
	out, err = write(ctx, s, func(tx *catalog.Tx) (Site, error) {
		old, err := findSite(tx, sub, name)
		created = err != nil
		if err != nil && holdfast.KindOf(err) != holdfast.NotFound {
			return site, err
		}
		if err == nil {
			if err := old.stays(tx, site.Group); err != nil {
				return site, err
			}
			site.Name = old.Name
			if err := s.moveOperational(tx, old, site); err != nil {
				return site, err
			}
		}
		others, err := list(tx, catalog.Query{Type: TypeSite}, decodeSite)
		if err != nil {
			return site, err
		}
		for _, o := range others {
			if o.URI == site.URI && !strings.EqualFold(o.ID, siteID(sub, name)) {
				return site, holdfast.Errorf(holdfast.Conflict, "properties.uri", "The host %s is already the site %q.", o.URI, o.Name)
			}
		}
		return putSite(tx, site)
	})
	return out, created, err
}

func (s *Service) checkSite(name string, site *Site) error {
	if err := checkName("site", name); err != nil {
		return err
	}
	if Location(name) != strings.ToLower(name) {
		return holdfast.Errorf(holdfast.Invalid, "name", "The name %q has a space; a site's name is a location.", name)
	}
	if site.URI == "" {
		return holdfast.Errorf(holdfast.Invalid, "properties.uri", "properties.uri is missing: the libvirt URI of the host, such as qemu:///system.")
	}
	if err := checkName("resource group", site.Group); err != nil {
		return holdfast.Errorf(holdfast.Invalid, "properties.resourceGroup", "properties.resourceGroup is %q: it names the resource group where the site's machines appear.", site.Group)
	}
	if site.ScratchDir == "" {
		site.ScratchDir = filepath.Join(s.ScratchDir, strings.ToLower(name))
	}
	if !filepath.IsAbs(site.ScratchDir) || filepath.Clean(site.ScratchDir) != site.ScratchDir {
		return holdfast.Errorf(holdfast.Invalid, "properties.scratchDir", "properties.scratchDir is %q; it must be a plain absolute path.", site.ScratchDir)
	}
	if err := s.checkOperational(name, site); err != nil {
		return err
	}
	if site.ScratchLimit != 0 && site.ScratchLimit < minScratchLimit {
		return holdfast.Errorf(holdfast.Invalid, "properties.scratchLimit", "properties.scratchLimit is %d; it must be 0 for none, or at least %d bytes.", site.ScratchLimit, minScratchLimit)
	}
	if site.ReadRate != 0 && site.ReadRate < minReadRate {
		return holdfast.Errorf(holdfast.Invalid, "properties.readRate", "properties.readRate is %d; it must be 0 for no limit, or at least %d bytes per second.", site.ReadRate, minReadRate)
	}
	if site.CollectRate != 0 && site.CollectRate < minReadRate {
		return holdfast.Errorf(holdfast.Invalid, "properties.collectRate", "properties.collectRate is %d; it must be 0 for %d, or at least %d bytes per second.", site.CollectRate, defaultCollectRate, minReadRate)
	}
	if site.MaxBackups < 0 || site.MaxBackups > 100 {
		return holdfast.Errorf(holdfast.Invalid, "properties.maxBackups", "properties.maxBackups is %d; it must be 0 for %d, or 1 to 100 backups at once.", site.MaxBackups, defaultBackups)
	}
	for pool, class := range site.PoolClasses {
		if !slices.Contains(diskClasses, class) {
			return holdfast.Errorf(holdfast.Invalid, "properties.poolClasses", "properties.poolClasses says %q of the pool %q; a class is one of %s.", class, pool, strings.Join(diskClasses, ", "))
		}
	}
	return nil
}

// diskClasses are Azure's classes of disks (armcompute, StorageAccountTypes).
var diskClasses = []string{"Standard_LRS", "StandardSSD_LRS", "StandardSSD_ZRS", "Premium_LRS", "Premium_ZRS", "PremiumV2_LRS", "UltraSSD_LRS"}

func putSite(tx *catalog.Tx, site Site) (Site, error) {
	sub := site.Subscription
	if _, err := findGroup(tx, sub, site.Group); holdfast.KindOf(err) == holdfast.NotFound && err != nil {
		if _, err := putGroup(tx, sub, Group{Name: site.Group, Location: Location(site.Name)}); err != nil {
			return site, err
		}
	} else if err != nil {
		return site, err
	}
	r, err := catalog.Write(tx, catalog.Resource{ID: siteID(sub, site.Name), Type: TypeSite, Parent: subscriptionID(sub)}, site)
	site.Stamp = stamp(r)
	return site, err
}

// Site returns one site.
func (s *Service) Site(ctx context.Context, sub, name string) (Site, error) {
	return read(ctx, s, func(tx *catalog.Tx) (Site, error) { return findSite(tx, sub, name) })
}

// SiteFacts asks a site what it has now.
func (s *Service) SiteFacts(ctx context.Context, site Site) (holdfast.DiscoverResult, error) {
	return s.Inventory.Discover(ctx, site.Ref())
}

// Sites lists the sites of a subscription; they are its locations.
func (s *Service) Sites(ctx context.Context, sub string) ([]Site, error) {
	return read(ctx, s, func(tx *catalog.Tx) ([]Site, error) { return sitesIn(tx, sub) })
}

// DeleteSite forgets a site that no vault uses. Its host is not touched.
func (s *Service) DeleteSite(ctx context.Context, sub, name string) error {
	_, err := write(ctx, s, func(tx *catalog.Tx) (struct{}, error) {
		var none struct{}
		site, err := findSite(tx, sub, name)
		if err != nil {
			return none, err
		}
		vaults, err := list(tx, catalog.Query{Type: TypeVault, Under: subscriptionID(sub)}, decodeVault)
		if err != nil {
			return none, err
		}
		for _, v := range vaults {
			if v.Location == Location(name) {
				return none, holdfast.Errorf(holdfast.Conflict, name, "The site %q still has the vault %q.", site.Name, v.Name).WithHint("Delete the vault first.")
			}
		}
		held, err := protectedOf(tx, func(i Item) bool { return i.Site == Location(name) }) // in vaults of other sites
		if err == nil && held != "" {
			err = holdfast.Errorf(holdfast.Conflict, name, "Machines of the site %q are protected: %s.", site.Name, held).WithHint("Delete their protection with its points first.")
		}
		if err == nil {
			err = noCollections(tx, sub, site)
		}
		if err != nil {
			return none, err
		}
		_, err = tx.Delete(site.ID)
		return none, errors.Join(err, tx.DeleteUnder(site.ID))
	})
	return err
}

func sitesIn(tx *catalog.Tx, sub string) ([]Site, error) {
	return list(tx, catalog.Query{Type: TypeSite, Parent: subscriptionID(sub)}, decodeSite)
}

func findSite(tx *catalog.Tx, sub, name string) (Site, error) {
	r, err := tx.Get(siteID(sub, name))
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
	site, err := findSite(tx, sub, Location(location))
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

func decodeSite(r catalog.Resource) (Site, error) {
	v, err := catalog.Decode[Site](r)
	v.Stamp = stamp(r)
	return v, err
}
