package service

import (
	"context"

	"holdfast"
	"holdfast/internal/arm"
	"holdfast/internal/resource"
)

// Tags are the tags of a resource group, a vault, a machine, a restore point
// collection or a disk encryption set, by its id.
func (s *Service) Tags(ctx context.Context, id string) (map[string]string, error) {
	of, err := taggable(id)
	switch {
	case err != nil:
		return nil, err
	case of.Is(resource.TypeGroup):
		g, err := s.Resources.Group(ctx, of.Subscription, of.Group)
		return g.Tags, err
	case of.Is(resource.TypeVault):
		v, err := s.Vault(ctx, of.Subscription, of.Group, of.Name())
		return v.Tags, err
	case of.Is(resource.TypeCollection):
		c, err := s.Collection(ctx, of.String())
		return c.Tags, err
	case of.Is(TypeEncryptionSet):
		e, err := s.EncryptionSet(ctx, of.String())
		return e.Tags, err
	}
	vm, err := s.VM(ctx, of.Subscription, of.Group, of.Name())
	return vm.Tags, err
}

// SetTags replaces the tags of what Tags knows.
func (s *Service) SetTags(ctx context.Context, id string, tags map[string]string) error {
	of, err := taggable(id)
	if err == nil {
		err = resource.CheckTags(tags)
	}
	switch {
	case err != nil:
	case of.Is(resource.TypeGroup):
		_, err = s.Resources.TagGroup(ctx, of.Subscription, of.Group, tags)
	case of.Is(resource.TypeVault):
		_, err = s.UpdateVault(ctx, of.Subscription, of.Group, of.Name(), VaultInput{Tags: tags})
	case of.Is(resource.TypeCollection):
		_, err = s.TagCollection(ctx, of.String(), tags)
	case of.Is(TypeEncryptionSet):
		_, err = s.TagEncryptionSet(ctx, of.String(), tags)
	default:
		_, _, err = s.UpdateVM(ctx, of.Subscription, of.Group, of.Name(), VMUpdate{Tags: tags})
	}
	return err
}

// taggable refuses what keeps no tags.
func taggable(id string) (arm.ID, error) {
	of, err := arm.ParseID(id)
	if err != nil {
		return of, holdfast.Errorf(holdfast.Invalid, "scope", "%q is not a resource id: %v.", id, err)
	}
	if !of.Is(resource.TypeGroup) && !of.Is(resource.TypeVault) && !of.Is(resource.TypeVM) && !of.Is(resource.TypeCollection) && !of.Is(TypeEncryptionSet) {
		return of, holdfast.Errorf(holdfast.Unsupported, id, "A %s keeps no tags; resource groups, vaults, virtual machines, restore point collections and disk encryption sets do.", of.Type())
	}
	return of, nil
}

// TagsUsed counts the tags of a subscription's resources: by name and value. A
// site that does not answer adds nothing.
func (s *Service) TagsUsed(ctx context.Context, sub string) (map[string]map[string]int, error) {
	used := map[string]map[string]int{}
	add := func(tags map[string]string) {
		for name, v := range tags {
			if used[name] == nil {
				used[name] = map[string]int{}
			}
			used[name][v]++
		}
	}
	groups, err := s.Resources.Groups(ctx, sub)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		add(g.Tags)
	}
	vaults, err := s.Vaults(ctx, sub, "")
	if err != nil {
		return nil, err
	}
	for _, v := range vaults {
		add(v.Tags)
	}
	collections, err := s.Collections(ctx, sub, "")
	if err != nil {
		return nil, err
	}
	for _, c := range collections {
		add(c.Tags)
	}
	sets, err := s.EncryptionSets(ctx, sub, "")
	if err != nil {
		return nil, err
	}
	for _, e := range sets {
		add(e.Tags)
	}
	vms, err := s.VMs(ctx, sub, "")
	if err != nil && holdfast.KindOf(err) != holdfast.Unreachable {
		return nil, err
	}
	for _, vm := range vms {
		add(vm.Tags)
	}
	return used, nil
}
