package service

import (
	"context"
	"encoding/json"
	"reflect"

	"holdfast"
	"holdfast/internal/resource"
)

// maxKept bounds what is kept of one machine, bytes of JSON: it is carried in
// the domain's definition and in every point.
const maxKept = 64 << 10

// ofDisks is the member under which what is kept of the disks is, by target.
const ofDisks = "disks"

// keep merges what a client sent into what is kept of a machine, and stores it
// when that changes it.
func (s *Service) keep(ctx context.Context, site Site, vm VM, in VMUpdate) (map[string]any, error) {
	next := resource.Merge(vm.Kept, in.Kept)
	disks := map[string]any{}
	for _, k := range vm.Disks {
		if k.LUN < 0 && in.KeptOfOSDisk != nil {
			disks[k.Target] = in.KeptOfOSDisk
		}
	}
	for _, w := range in.Disks {
		if have, ok := vm.attached(site, w); ok && w.Kept != nil {
			disks[have.Target] = w.Kept
		}
	}
	if len(disks) > 0 {
		next = resource.Merge(next, map[string]any{ofDisks: disks})
	}
	if len(next) == 0 && len(vm.Kept) == 0 || reflect.DeepEqual(next, vm.Kept) {
		return vm.Kept, nil
	}
	b, err := json.Marshal(next)
	if err != nil {
		return nil, err
	}
	if len(b) > maxKept {
		return nil, holdfast.Errorf(holdfast.Invalid, "properties", "What is to be kept of the VM takes %d bytes; %d are the most.", len(b), maxKept)
	}
	return next, s.Machines.SetKept(ctx, site.Ref(), vm.VMRef, next)
}
