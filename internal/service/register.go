package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"holdfast"
	"holdfast/internal/arm"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/resource"
)

// The least that the limits of a site may be: below them no backup ends.
const (
	minScratchLimit = 16 << 20
	minReadRate     = 1 << 20
)

// PutSite registers a libvirt host as a site, or changes one. The host is asked
// before anything is stored: one that does not answer is refused.
func (s *Service) PutSite(ctx context.Context, sub, name string, site Site) (out Site, created bool, err error) {
	said := site.OperationalDir == s.defaultOperational(name) // that it is the server's choice
	if err := s.checkSite(name, &site); err != nil {
		return out, false, err
	}
	site.Subscription, site.Name = sub, name
	if _, err := s.Resources.Subscription(ctx, sub); err != nil {
		return out, false, err
	}
	if _, err := s.Inventory.Discover(ctx, site.Ref()); err != nil {
		return out, false, err
	}
	if err := s.makeOperational(ctx, &site, said); err != nil {
		return out, false, err
	}
	out, err = resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (Site, error) {
		old, err := findSite(tx, sub, name)
		created = err != nil
		if err != nil && holdfast.KindOf(err) != holdfast.NotFound {
			return site, err
		}
		if err == nil {
			if err := stays(tx, old, site.Group); err != nil {
				return site, err
			}
			site.Name = old.Name
			if err := s.moveOperational(tx, old, site); err != nil {
				return site, err
			}
		}
		others, err := resource.List(tx, catalog.Query{Type: resource.TypeSite}, decodeSite)
		if err != nil {
			return site, err
		}
		for _, o := range others {
			if o.URI == site.URI && !strings.EqualFold(o.ID, resource.SiteID(sub, name)) {
				return site, holdfast.Errorf(holdfast.Conflict, "properties.uri", "The host %s is already the site %q.", o.URI, o.Name)
			}
		}
		return putSite(tx, site)
	})
	return out, created, err
}

func (s *Service) checkSite(name string, site *Site) error {
	if err := resource.CheckName("site", name); err != nil {
		return err
	}
	if resource.Location(name) != strings.ToLower(name) {
		return holdfast.Errorf(holdfast.Invalid, "name", "The name %q has a space; a site's name is a location.", name)
	}
	if site.URI == "" {
		return holdfast.Errorf(holdfast.Invalid, "properties.uri", "properties.uri is missing: the libvirt URI of the host, such as qemu:///system.")
	}
	if err := resource.CheckName("resource group", site.Group); err != nil {
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

// DeleteSite forgets a site that no vault uses. Its host is not touched.
func (s *Service) DeleteSite(ctx context.Context, sub, name string) error {
	_, err := resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (struct{}, error) {
		var none struct{}
		site, err := findSite(tx, sub, name)
		if err != nil {
			return none, err
		}
		vaults, err := resource.List(tx, catalog.Query{Type: resource.TypeVault, Under: resource.SubscriptionID(sub)}, decodeVault)
		if err != nil {
			return none, err
		}
		for _, v := range vaults {
			if v.Location == resource.Location(name) {
				return none, holdfast.Errorf(holdfast.Conflict, name, "The site %q still has the vault %q.", site.Name, v.Name).WithHint("Delete the vault first.")
			}
		}
		held, err := protectedOf(tx, func(i Item) bool { return i.Site == resource.Location(name) }) // in vaults of other sites
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

const operationalMember = "properties.operationalDir"

func (s *Service) checkOperational(name string, site *Site) error {
	if dir := site.OperationalDir; dir != "" && (!filepath.IsAbs(dir) || filepath.Clean(dir) != dir || dir == "/") {
		return holdfast.Errorf(holdfast.Invalid, operationalMember, "%s is %q; it must be a plain absolute path.", operationalMember, dir).
			WithHint("Give a directory of its own, below the mount point of its file system.")
	}
	if site.OperationalDir == s.defaultOperational(name) {
		site.OperationalDir = ""
	}
	return nil
}

// makeOperational makes the operational repository of a site at a place that
// somebody chose, or finds it there. A site of which nothing is said keeps its
// place; said is that it is to be the server's choice.
func (s *Service) makeOperational(ctx context.Context, site *Site, said bool) error {
	old, err := s.Site(ctx, site.Subscription, site.Name)
	if err != nil && holdfast.KindOf(err) != holdfast.NotFound {
		return err
	}
	if site.OperationalDir == "" && !said {
		site.OperationalDir = old.OperationalDir
	}
	if site.OperationalDir == "" || site.OperationalDir == old.OperationalDir {
		return nil
	}
	if _, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (any, error) { return nil, s.mayMoveOperational(tx, old, *site) }); err != nil {
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
	points, err := resource.List(tx, catalog.Query{Type: resource.TypeRestorePoint}, decodeRestorePoint)
	if err != nil {
		return err
	}
	for _, p := range points {
		if p.Location == resource.Location(old.Name) && s.at(old, p) == from {
			why = fmt.Sprintf("the restore point %s/%s", resource.LastName(p.Collection), p.Name)
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
			why = fmt.Sprintf("the point %s of %s, which is not in its vault yet", p.Name, resource.LastName(p.Item))
		}
	}
	if err != nil || why == "" {
		return err
	}
	return holdfast.Errorf(holdfast.Conflict, operationalMember, "The operational repository of the site %q cannot have another place: it alone has %s.", old.Name, why).
		WithHint("Delete its restore points, and let backups that run or wait for their vault end; then give the new place.")
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
	if err := leaveInstant(tx, from); err != nil {
		return err
	}
	return forgetHealth(tx, old, from)
}

// stays refuses to give a site another group while machines in it are protected:
// that would move them (RPL-04).
func stays(tx *catalog.Tx, old Site, group string) error {
	if resource.SameName(old.Group, group) {
		return nil
	}
	here := func(vm arm.ID) bool {
		return resource.SameName(vm.Subscription, old.Subscription) && resource.SameName(vm.Group, old.Group)
	}
	held, err := protectedOf(tx, func(i Item) bool { return here(resource.IDOf(i.Source)) })
	if err == nil && held == "" {
		held, err = restorePointsOf(tx, here)
	}
	if err == nil && held != "" {
		err = holdfast.Errorf(holdfast.Unsupported, "properties.resourceGroup", "The machines of the site %q cannot move to the resource group %q: recovery points would lose their source: %s.", old.Name, group, held).
			WithHint("Delete those points first, with the machines' protection if they have one, or keep the resource group.")
	}
	return err
}
