package service

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"holdfast"
	"holdfast/internal/limits"
	"holdfast/internal/resource"
)

// checkParts finds the pool and the network that the request names.
func (s *Service) checkParts(ctx context.Context, args *holdfast.RestoreArgs, r restoring, in RestoreRequest) error {
	have, err := s.Inventory.Discover(ctx, args.Site)
	if err != nil {
		return err
	}
	if args.Pool == "" && args.Directory == "" { // else it is that of the disks that are replaced
		if err := s.checkStaging(args, have.Pools, r, in); err != nil {
			return err
		}
	}
	if in.Network == "" {
		return nil
	}
	network, err := resource.ParseAs("properties.virtualNetworkId", in.Network, resource.TypeNetwork)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(have.Networks, func(n string) bool { return resource.SameName(n, network.Name()) })
	if i < 0 {
		return holdfast.Errorf(holdfast.NotFound, "properties.virtualNetworkId", "The site %q has no network %q.", r.site.Name, network.Name())
	}
	args.Network = have.Networks[i]
	return nil
}

// checkStaging says where restored disks go. What was unmanaged comes back so,
// where nothing else is said (MGT-07): with no place named to the directory that it
// was in, and with a storage account beside what that manages. There disks go, too,
// that are restored to no resource group: so az asks for unmanaged ones
// (--restore-as-unmanaged-disks).
func (s *Service) checkStaging(args *holdfast.RestoreArgs, pools []holdfast.PoolFact, r restoring, in RestoreRequest) (err error) {
	disks := r.point.Result.Disks
	pooled := slices.ContainsFunc(disks, func(d holdfast.DiskResult) bool { return d.Pool != "" })
	if in.Pool == "" && !pooled && len(disks) > 0 && disks[0].Path != "" {
		args.Directory = path.Dir(disks[0].Path)
		return nil
	}
	args.Pool, err = s.stagingPool(pools, r, in)
	args.Unmanaged = in.TargetRG == "" && !in.Managed && (args.Mode == holdfast.RestoreDisks || args.Mode == holdfast.CreateVM && !r.point.Managed())
	return err
}

// stagingPool is the pool for restored disks: the one that is named, unless it is
// one that encrypts what it holds (MGT-03), or else one of the class that the
// disks had (STO-03), or the only one.
func (s *Service) stagingPool(pools []holdfast.PoolFact, r restoring, in RestoreRequest) (string, error) {
	const member = "properties.storageAccountId"
	if in.Pool == "" {
		if name := r.poolOfClass(pools); name != "" {
			return name, nil
		}
		if len(pools) == 1 {
			return pools[0].Name, nil
		}
		return "", holdfast.Errorf(holdfast.Invalid, member, "The request does not say where the disks go, and no pool of the site is of the class that they had.").
			WithHint("Name a storage account (a pool of the site), or a directory in properties.holdfast.directory.")
	}
	named, err := resource.ParseAs(member, in.Pool, resource.TypePool)
	if err != nil {
		return "", err
	}
	name, err := poolNamed(pools, member, r.site, named.Name())
	if err == nil && slices.Contains(r.site.EncryptedPools, name) && !s.Limits.Lifts("MGT-03") {
		return "", holdfast.Errorf(holdfast.Unsupported, member, "The storage account %s encrypts what it holds; nothing is restored to such a one (MGT-03).", name).
			WithHint("Name another storage account. " + limits.Hint)
	}
	return name, err
}

// poolOfClass is the pool that the point's first managed disk was in, or the first
// of the same class; "" when there is none. The OS disk is the first.
func (r restoring) poolOfClass(pools []holdfast.PoolFact) string {
	i := slices.IndexFunc(r.point.Result.Disks, func(d holdfast.DiskResult) bool { return d.Pool != "" })
	if i < 0 {
		return ""
	}
	was := r.point.Result.Disks[i].Pool
	if slices.ContainsFunc(pools, func(p holdfast.PoolFact) bool { return p.Name == was }) {
		return was
	}
	class := r.site.PoolClasses[was]
	i = slices.IndexFunc(pools, func(p holdfast.PoolFact) bool { return class != "" && r.site.PoolClasses[p.Name] == class })
	if i < 0 {
		return ""
	}
	return pools[i].Name
}

// zones are those that the VM of the point was pinned to; none: it was not.
func (r restoring) zones() (names []string) {
	list, _ := r.point.Result.Kept["zones"].([]any)
	for _, z := range list {
		names = append(names, fmt.Sprint(z))
	}
	return names
}

// checkZones refuses a zone that the VM of the point was not in (CMP-09, MGT-01).
// A zone is a group of hosts; a site has the host that its VMs are on.
func (s *Service) checkZones(r restoring, in RestoreRequest) error {
	had := r.zones()
	if len(in.Zones) == 0 || slices.Equal(in.Zones, had) || s.Limits.Lifts("MGT-01") {
		return nil
	}
	return holdfast.Errorf(holdfast.Unsupported, "zones", "The VM of the point is pinned to %s; it is not restored to zone %s (CMP-09).", zoneWords(had), strings.Join(in.Zones, ", ")).
		WithHint("Leave out zones: the restore goes where the VM was.")
}

// zoneOut says of a host that does not answer which zone is out by that.
func (r restoring) zoneOut(err error) error {
	had := r.zones()
	var e *holdfast.Error
	if len(had) == 0 || !errors.As(err, &e) || e.Kind != holdfast.Unreachable {
		return err
	}
	return holdfast.Errorf(holdfast.Unreachable, e.Target, "The VM is pinned to %s, which is out: %s", zoneWords(had), e.Message).
		WithHint("Restore it when the host is back.").WithCause(err)
}

func zoneWords(zones []string) string {
	if len(zones) == 0 {
		return "no zone"
	}
	return "zone " + strings.Join(zones, ", ")
}
