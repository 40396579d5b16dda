package service

import (
	"context"

	"holdfast"
	"holdfast/internal/resource"
	"holdfast/internal/support"
)

// Check is what was looked at before a backup of a machine.
type Check struct {
	ID       string // ARM id
	Findings []holdfast.Finding
}

// CheckVM says what a backup of a machine would meet, and what each row of the
// support matrix says of it. Nothing is changed.
func (s *Service) CheckVM(ctx context.Context, sub, group, name string) (Check, error) {
	return onSite(ctx, s, sub, group, name, func(site Site) (Check, error) {
		found, err := s.Inventory.Check(ctx, site.Ref(), name)
		if err != nil {
			return Check{}, err
		}
		vm, err := s.facts(ctx, site, name)
		rows := append(support.Check(vm, s.Limits.Lifts), support.BesidePoints(vm)...)
		return Check{ID: resource.InGroup(sub, site.Group, resource.TypeVM, name) + "/providers/" + resource.TypePreflight + "/current", Findings: append(found, rows...)}, err
	})
}

// facts collects what the rules of the support matrix look at.
func (s *Service) facts(ctx context.Context, site Site, name string) (support.VM, error) {
	f, err := s.Inventory.VM(ctx, site.Ref(), name)
	if err != nil {
		return support.VM{}, err
	}
	vm := support.VM{VMFact: f, Classes: site.PoolClasses, Accelerator: site.WriteAccelerator}
	if vm.Guest, err = s.Inventory.Guest(ctx, site.Ref(), name); err != nil {
		return vm, err
	}
	id := vmOf(site, f).ID
	if _, vm.Locked, err = s.Resources.LockedBy(ctx, id, true); err != nil {
		return vm, err
	}
	item, err := s.ProtectionOf(ctx, id)
	if err == nil {
		vm.Exclude = item.Exclusion.Excluded(f.Disks)
	} else if holdfast.KindOf(err) == holdfast.NotFound {
		err = nil
	}
	return vm, err
}
