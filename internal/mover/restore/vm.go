package restore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"

	"holdfast"
	"holdfast/internal/disk/image"
	"holdfast/internal/hypervisor"
	"holdfast/internal/mover"
)

// made finds the VM that an earlier run of this restore has made, whatever its
// name is by now; nil when there is none.
func (r *run) made(ctx context.Context) (*holdfast.VMRef, error) {
	if r.args.Mode != holdfast.CreateVM {
		return nil, nil
	}
	domains, err := r.host.Domains(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range domains {
		xml, err := r.host.DomainXML(ctx, d.UUID)
		if err == nil && mover.RestoreOf(xml) == r.args.RestoreID {
			return &holdfast.VMRef{UUID: d.UUID, Name: d.Name}, nil
		}
		if err != nil && !errors.Is(err, hypervisor.ErrNoDomain) {
			return nil, err
		}
	}
	return nil, nil
}

// alreadyMade answers with the VM when an earlier run of this restore had made
// it, and refuses when the name belongs to another VM (matrix MGT-02).
func (r *run) alreadyMade(ctx context.Context) (*holdfast.VMRef, error) {
	vm, err := r.made(ctx)
	if err != nil {
		return nil, err
	}
	if vm == nil && r.args.BootFirst && r.wasBooted() {
		return &holdfast.VMRef{Name: r.args.VMName}, nil // it was deleted since
	}
	if vm != nil && r.args.BootFirst {
		return vm, nil // goOn starts it, once its disks are served
	}
	if vm != nil {
		// It is there, and its user may have it already: that it does not start
		// does not take it back.
		if err := r.start(ctx, vm); err != nil {
			r.progress.Warn(fmt.Sprintf("The VM %s is there, and could not be started: %v.", vm.Name, err))
		}
		return vm, nil
	}
	_, err = r.host.DomainNamed(ctx, r.args.VMName)
	if err == nil {
		return nil, holdfast.Errorf(holdfast.Conflict, "targetVirtualMachineId", "A VM named %q exists already.", r.args.VMName).
			WithHint("Choose another name.")
	}
	if !errors.Is(err, hypervisor.ErrNoDomain) {
		return nil, err
	}
	return nil, nil
}

// createVM defines the new domain and, if asked, boots it. A VM that cannot
// be started is undefined again: a restore is whole or nothing.
func (r *run) createVM(ctx context.Context, res *holdfast.RestoreResult) (*holdfast.VMRef, error) {
	n := r.newDomain(r.args.VMName, res.Disks)
	for _, f := range r.temporary() {
		if err := r.empty(ctx, f); err != nil {
			return nil, fmt.Errorf("disk %s: %w", f.Target, err)
		}
		n.Disks[f.Target], n.Formats[f.Target], n.Whole[f.Target] = r.staging.final(r.name(f.Target)), r.args.Format, true
	}
	if name := r.nvramName(); name != "" {
		if err := r.writeNVRAM(name); err != nil {
			return nil, err
		}
		n.NVRAM = r.staging.final(name)
	}
	xml, notes, err := rewriteDomain(r.manifest.DomainXML, n)
	if err != nil {
		return nil, err
	}
	res.FollowUps = append(append(res.FollowUps, notes...), links(r.manifest.VM)...)
	uuid, err := r.host.Define(ctx, xml)
	if err != nil {
		return nil, err
	}
	if err := r.restoreTPM(ctx, uuid); err != nil {
		r.progress.Warn(fmt.Sprintf("The TPM's state could not be restored: %v.", err))
		res.FollowUps = append(res.FollowUps, "Have the recovery keys ready of what the guest sealed with its TPM (BitLocker, LUKS).")
	}
	vm := &holdfast.VMRef{UUID: uuid, Name: r.args.VMName}
	if err := r.start(ctx, vm); err != nil {
		return nil, errors.Join(err, r.host.Undefine(context.WithoutCancel(ctx), uuid))
	}
	r.progress.Property("VM", vm.Name+" ("+vm.UUID+")")
	return vm, nil
}

// newDomain is what the definition of a VM with these disks is to be.
func (r *run) newDomain(name string, disks []holdfast.DiskResult) newDomain {
	a := r.args
	n := newDomain{
		Name: name, RestoreID: a.RestoreID, PointID: r.point.ID, Network: a.Network, NICs: a.NICs, Isolated: a.Isolated, LeaveSets: a.LeaveSets,
		Disks: map[string]string{}, Formats: map[string]string{}, Whole: map[string]bool{}, Secrets: map[string]string{},
	}
	if a.BootFirst {
		n.Base = r.socket()
	}
	if a.Attach != nil {
		n.Own, n.Tags, n.Kept, n.VCPUs, n.Memory, n.Networks = true, a.Tags, a.Kept, a.VCPUs, a.Memory, a.Networks
		n.LUNs = map[string]int{}
		n.Kept = byTarget(n.Kept, disks)
	}
	for _, d := range disks {
		if n.Own && d.LUN >= 0 {
			n.LUNs[d.Target] = d.LUN
		}
		if slices.ContainsFunc(r.manifest.VM.Disks, func(f holdfast.DiskFact) bool { return f.Target == d.Target }) {
			n.Secrets[d.Target] = d.Secret
			if n.Disks[d.Target], n.Formats[d.Target] = d.Path, d.Format; a.BootFirst {
				n.Disks[d.Target], n.Formats[d.Target] = r.overlay(d.Target), image.Qcow2
			}
			continue
		}
		n.Extra = append(n.Extra, holdfast.DiskFact{LUN: d.LUN, Target: d.Target, Bus: "virtio", Path: d.Path, Format: d.Format})
	}
	return n
}

// byTarget is what is kept of a new VM, with what is kept of its disks by their
// targets instead of their LUNs.
func byTarget(kept map[string]any, disks []holdfast.DiskResult) map[string]any {
	of, _ := kept["disks"].(map[string]any)
	if of == nil {
		return kept
	}
	named := map[string]any{}
	for _, d := range disks {
		if v, ok := of[strconv.Itoa(d.LUN)]; ok {
			named[d.Target] = v
		}
	}
	kept = maps.Clone(kept)
	kept["disks"] = named
	return kept
}

// attached are the disks that a VM is to be made of, each in the place of the
// point's disk with its LUN, or in a new one.
func (r *run) attached() (disks []holdfast.DiskResult) {
	taken := map[string]bool{}
	for _, f := range r.manifest.VM.Disks {
		taken[f.Target] = true
	}
	for _, k := range r.args.Attach {
		d := holdfast.DiskResult{LUN: k.LUN, Size: k.Size, Path: k.Path, Format: k.Format}
		if i := slices.IndexFunc(r.manifest.VM.Disks, func(f holdfast.DiskFact) bool { return f.LUN == k.LUN }); i >= 0 {
			d.Target, d.Secret = r.manifest.VM.Disks[i].Target, r.sealedUnder(r.manifest.VM.Disks[i], k)
		}
		for c := 'a'; d.Target == ""; c++ {
			if name := "vd" + string(c); !taken[name] {
				d.Target, taken[name] = name, true
			}
		}
		disks = append(disks, d)
	}
	return disks
}

// Names of the files that describe restored disks begin with the restore's
// prefix and end in these.
const (
	templateSuffix   = "-template.json"
	definitionSuffix = "-domain.xml"
)

// described says whether restored disks get a template and a definition.
func (r *run) described() bool { return r.args.Mode == holdfast.RestoreDisks && r.args.Point != "" }

// describe writes the template that makes a VM of restored disks, and its libvirt
// definition, beside the disks (matrix RST-02). The passwords of its displays
// stay in the point.
func (r *run) describe(ctx context.Context, res *holdfast.RestoreResult) (err error) {
	if !r.described() {
		return nil
	}
	pools, err := r.poolsOf(ctx, res.Disks)
	if err != nil {
		return err
	}
	if res.Template, err = templateOf(r.manifest, r.args.Site.Name, r.args.Point, res.Disks, pools); err != nil {
		return err
	}
	plain, passwords := withoutPasswords(r.manifest.DomainXML)
	xml, notes, err := rewriteDomain(plain, r.newDomain(r.args.NamePrefix, res.Disks))
	if err != nil {
		return err
	}
	res.Definition = xml
	res.FollowUps = slices.Concat(res.FollowUps, passwords, notes, links(r.manifest.VM))
	if len(pools) < len(res.Disks) {
		res.FollowUps = append(res.FollowUps, "The disks are in no storage pool of the site (unmanaged). The template makes a VM of them where they are; az vm convert then moves them into a pool.")
	}
	for suffix, content := range map[string][]byte{templateSuffix: res.Template, definitionSuffix: []byte(xml)} {
		name := r.args.NamePrefix + suffix
		if err := writeFile(r.staging.path(name), content); err != nil {
			return err
		}
		if err := r.staging.publish(name); err != nil {
			return err
		}
	}
	r.progress.Property("Config Blob Container Name", r.staging.dir)
	r.progress.Property("Config Blob Name", r.args.NamePrefix+definitionSuffix)
	r.progress.Property("Template Blob Name", r.args.NamePrefix+templateSuffix)
	r.progress.Property("Target Storage Account Name", r.args.Pool)
	return nil
}

// poolsOf are the pools that restored disks lie in, by path.
func (r *run) poolsOf(ctx context.Context, disks []holdfast.DiskResult) (map[string]string, error) {
	all, err := r.host.Pools(ctx)
	if err != nil {
		return nil, err
	}
	in := map[string]string{}
	for _, d := range disks {
		for _, p := range all {
			if filepath.Clean(p.Path) == filepath.Dir(d.Path) {
				in[d.Path] = p.Name
			}
		}
	}
	return in, nil
}

func (r *run) writeNVRAM(name string) error {
	if err := writeFile(r.staging.path(name), r.manifest.NVRAM); err != nil {
		return err
	}
	return r.staging.publish(name)
}

func (r *run) start(ctx context.Context, vm *holdfast.VMRef) error {
	if !r.args.Start {
		return nil
	}
	return r.host.Start(ctx, vm.UUID)
}
