package service

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"holdfast"
	"holdfast/internal/arm"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/limits"
	"holdfast/internal/resource"
)

// Item is a protected VM.
type Item struct {
	resource.Stamp
	Vault     string     `json:"vault"`  // ARM id
	Source    string     `json:"source"` // ARM id of the VM
	Group     string     `json:"group"`
	VM        string     `json:"vm"`             // its name
	UUID      string     `json:"uuid"`           // which machine of that name it is
	Site      string     `json:"site,omitempty"` // location of the VM; "" is its vault's
	Series    string     `json:"series"`         // joins its points in the repository
	Policy    string     `json:"policy"`         // name; "" when protection is stopped
	Held      Hold       `json:"held,omitempty"`
	Exclusion *Exclusion `json:"exclusion,omitempty"`
	// NICs are those that the VM had when its protection was enabled: so many come
	// back (NET-01).
	NICs []holdfast.NICFact `json:"nics,omitempty"`
	// DeleteAfter is until when a soft-deleted item is kept; zero is not deleted.
	DeleteAfter time.Time `json:"deleteAfter,omitzero"`

	// Scheduled is the run of the policy's schedule that was served last; at
	// first, and when the item gets a policy, that moment.
	Scheduled time.Time `json:"scheduled,omitzero"`

	LastBackupStatus string    `json:"lastBackupStatus,omitempty"` // Completed or Failed
	LastBackupTime   time.Time `json:"lastBackupTime,omitzero"`
	LastPoint        time.Time `json:"lastPoint,omitzero"`
	LastScheduled    time.Time `json:"lastScheduled,omitzero"` // the last point that the policy made
	LooksAfter       time.Time `json:"looksAfter,omitzero"`    // LastPoint when a verification was started last

	// Left are points that are in an operational repository, perhaps, and in no list.
	Left []holdfast.PointRef `json:"left,omitempty"`
}

// Hold says why an item is not backed up any more.
type Hold string

// The holds. Points are kept under each.
const (
	Active    Hold = ""
	Stopped   Hold = "ProtectionStopped" // by its user, points kept for ever
	Suspended Hold = "BackupsSuspended"  // by its user, points kept as the policy says
)

// Exclusion selects disks by LUN.
type Exclusion struct {
	LUNs    []int `json:"luns"`
	Include bool  `json:"include"` // LUNs are the ones to back up, besides the OS disk
}

// Excluded lists the LUNs of disks that are left out.
func (e *Exclusion) Excluded(disks []holdfast.DiskFact) []int {
	if e == nil {
		return nil
	}
	var out []int
	for _, d := range disks {
		listed := slices.Contains(e.LUNs, d.LUN)
		if d.LUN >= 0 && listed != e.Include {
			out = append(out, d.LUN)
		}
	}
	return out
}

// State is the item's protection state in Azure's words.
func (i Item) State() string {
	switch {
	case i.Held != Active:
		return string(i.Held)
	case i.LastPoint.IsZero():
		return "IRPending"
	}
	return "Protected"
}

// Protect is what PUT on a protected item means. Exactly one of Policy and Hold
// is set.
type Protect struct {
	Source    string     // ARM id of the VM
	PolicyID  string     // protect with it, or resume
	Hold      Hold       // stop
	Exclusion *Exclusion // nil leaves it as it is
	Reset     bool       // end the exclusion
	Undelete  bool       // bring a soft-deleted item back
}

// PutItem protects a VM, changes how, or stops its protection while keeping its
// points. The job that it returns is already done.
func (s *Service) PutItem(ctx context.Context, vault, container, item string, in Protect) (job.Job, error) {
	src, err := checkSource(container, item, in.Source)
	if err != nil {
		return job.Job{}, err
	}
	v, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Vault, error) { return findVault(tx, vault) })
	if err != nil {
		return job.Job{}, err
	}
	id := resource.ItemID(v.ID, src.Group, src.Name())
	old, err := s.Item(ctx, id)
	switch {
	case err != nil && holdfast.KindOf(err) != holdfast.NotFound:
		return job.Job{}, err
	case err != nil && (in.Hold != Active || in.Undelete):
		return job.Job{}, err
	case err != nil:
		return s.protect(ctx, v, src, in)
	case !strings.EqualFold(src.Subscription, v.sub()):
		return job.Job{}, otherSubscription(v)
	}
	return s.changeItem(ctx, old, in)
}

// checkSource sees that the names in the path are those of the VM.
func checkSource(container, item, source string) (arm.ID, error) {
	src, err := resource.ParseAs("properties.sourceResourceId", source, resource.TypeVM)
	if err != nil {
		return src, err
	}
	want := resource.ItemName(src.Group, src.Name())
	if !strings.EqualFold(container, "IaasVMContainer;"+want) || !strings.EqualFold(item, "VM;"+want) {
		return src, holdfast.Errorf(holdfast.Invalid, "properties.sourceResourceId",
			"The item is named %q in %q, but a VM %q of the group %q is named VM;%s in IaasVMContainer;%s.", item, container, src.Name(), src.Group, want, want)
	}
	return src, nil
}

// CheckProtect says whether a vault could protect a VM; nil is yes.
func (s *Service) CheckProtect(ctx context.Context, vault, source string) error {
	src, err := resource.ParseAs("resourceId", source, resource.TypeVM)
	if err != nil {
		return err
	}
	if _, err := resource.ParseAs("vaultId", vault, resource.TypeVault); err != nil {
		return err
	}
	v, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Vault, error) { return findVault(tx, vault) })
	if err != nil {
		return err
	}
	vm, err := s.machineFor(ctx, v, src)
	if err != nil {
		return err
	}
	_, err = resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (any, error) { return nil, unclaimed(tx, vm.ID, vm.Name) })
	return err
}

// The rule that a vault keeps of the machines it protects, and where it is told of one.
const (
	sourceMember = "properties.sourceResourceId"
	ownRegion    = "A VM is backed up to a vault of its own region and subscription (ACT-06)."
)

func otherSubscription(v Vault) error {
	return holdfast.Errorf(holdfast.Unsupported, sourceMember, "The VM is in another subscription than the vault %q.", v.Name).WithHint(ownRegion)
}

// machineFor finds the machine that a vault is to protect (ACT-06: of its own
// region and subscription; one of another region when that is lifted).
func (s *Service) machineFor(ctx context.Context, v Vault, src arm.ID) (VM, error) {
	if !strings.EqualFold(src.Subscription, v.sub()) {
		return VM{}, otherSubscription(v)
	}
	vm, err := s.VM(ctx, src.Subscription, src.Group, src.Name())
	if err != nil {
		return vm, err
	}
	if resource.Location(vm.Location) != v.Location && !s.Limits.Lifts("ACT-06") {
		return vm, holdfast.Errorf(holdfast.Unsupported, sourceMember, "The VM %q is in %s, the vault %q in %s.", vm.Name, vm.Location, v.Name, v.Location).WithHint(ownRegion + " " + limits.Hint)
	}
	if strings.ContainsAny(vm.Name, ";/\\") {
		return vm, holdfast.Errorf(holdfast.Unsupported, sourceMember, "The VM's name %q has a character that cannot be part of a resource id.", vm.Name)
	}
	return vm, nil
}

// protect makes a new item.
func (s *Service) protect(ctx context.Context, v Vault, src arm.ID, in Protect) (job.Job, error) {
	vm, err := s.machineFor(ctx, v, src)
	if err != nil {
		return job.Job{}, err
	}
	if err := checkExclusion(in.Exclusion, vm.Disks); err != nil {
		return job.Job{}, err
	}
	guest, err := s.Inventory.Guest(ctx, vm.site.Ref(), vm.Name)
	if err != nil {
		return job.Job{}, err
	}
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (job.Job, error) {
		if err := s.supported(tx, vm, in.Exclusion, guest); err != nil {
			return job.Job{}, err
		}
		p, err := policyOf(tx, v.ID, in.PolicyID)
		if err != nil {
			return job.Job{}, err
		}
		i := Item{Stamp: resource.Stamp{ID: resource.ItemID(v.ID, vm.Group, vm.Name)}, Vault: v.ID, Source: vm.ID, Group: vm.Group, VM: vm.Name, UUID: vm.UUID, Site: resource.Location(vm.Location),
			Series: uuid.NewString(), Policy: p.Name, Exclusion: in.Exclusion, NICs: vm.NICs, Scheduled: tx.Now()}
		if err := claimVM(tx, i); err != nil {
			return job.Job{}, err
		}
		if err := putItem(tx, i); err != nil {
			return job.Job{}, err
		}
		return job.Record(tx, i.spec(ctx, "ConfigureBackup"))
	})
}

// unclaimed is nil when no vault protects a VM.
func unclaimed(tx *catalog.Tx, vm, name string) error {
	held, _, err := catalog.Read[string](tx, claim(vm))
	if err == nil {
		return holdfast.Errorf(holdfast.Conflict, "properties.sourceResourceId", "The VM %q is already protected as %s.", name, held)
	}
	if holdfast.KindOf(err) == holdfast.NotFound {
		return nil
	}
	return err
}

func claimVM(tx *catalog.Tx, i Item) error {
	if err := unclaimed(tx, i.Source, i.VM); err != nil {
		return err
	}
	_, err := catalog.Write(tx, catalog.Resource{ID: claim(i.Source), Type: "Holdfast.Backup/claims", Parent: i.Vault}, i.ID)
	return err
}

func checkExclusion(e *Exclusion, disks []holdfast.DiskFact) error {
	if e == nil {
		return nil
	}
	for _, lun := range e.LUNs {
		if lun < 0 || !slices.ContainsFunc(disks, func(d holdfast.DiskFact) bool { return d.LUN == lun }) {
			return holdfast.Errorf(holdfast.Invalid, "properties.extendedProperties.diskExclusionProperties.diskLunList", "The VM has no data disk with LUN %d.", lun)
		}
	}
	return nil
}

// changeItem gives an item another policy, resumes it or stops it. Protecting a
// name again whose machine was replaced (restored under its old name, perhaps)
// goes on with the new machine and the old history.
func (s *Service) changeItem(ctx context.Context, i Item, in Protect) (job.Job, error) {
	src := resource.IDOf(i.Source)
	vm, vmErr := s.VM(ctx, src.Subscription, src.Group, src.Name())
	if vmErr != nil && in.Exclusion != nil {
		return job.Job{}, vmErr // a policy can change while the machine is away, a choice of its disks cannot
	}
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (job.Job, error) {
		i, err := findItem(tx, i.ID)
		if err != nil {
			return job.Job{}, err
		}
		if in.Undelete {
			return s.undelete(ctx, tx, i)
		}
		if !i.DeleteAfter.IsZero() {
			return job.Job{}, holdfast.Errorf(holdfast.Unsupported, i.VM, "The item %q is soft-deleted.", i.VM).WithHint("Undelete it first.")
		}
		if in.Hold != Active {
			if err := mayStop(ctx, tx, i); err != nil {
				return job.Job{}, err
			}
			i.Held, i.Policy = in.Hold, ""
			if err := putItem(tx, i); err != nil {
				return job.Job{}, err
			}
			return job.Record(tx, i.spec(ctx, "DisableBackup"))
		}
		p, err := policyOf(tx, i.Vault, in.PolicyID)
		if err != nil {
			return job.Job{}, err
		}
		if err := checkExclusion(in.Exclusion, vm.Disks); err != nil {
			return job.Job{}, err
		}
		if err := mayChange(ctx, tx, i, p, in.Exclusion != nil); err != nil {
			return job.Job{}, err
		}
		if i.Policy != p.Name {
			i.Scheduled = tx.Now()
		}
		i.Held, i.Policy = Active, p.Name
		if vmErr == nil {
			i.UUID, i.Site = vm.UUID, resource.Location(vm.Location)
		}
		if in.Exclusion != nil || in.Reset {
			i.Exclusion = in.Exclusion
		}
		if err := putItem(tx, i); err != nil {
			return job.Job{}, err
		}
		return job.Record(tx, i.spec(ctx, "ConfigureBackup"))
	})
}

// policyOf returns the policy that properties.policyId names; it is one of the vault.
func policyOf(tx *catalog.Tx, vault, id string) (Policy, error) {
	const member = "properties.policyId"
	parsed, err := resource.ParseAs(member, id, resource.TypePolicy)
	if err != nil {
		return Policy{}, err
	}
	if !strings.EqualFold(resource.PolicyID(vault, parsed.Name()), parsed.String()) {
		return Policy{}, holdfast.Errorf(holdfast.Invalid, member, "The policy %s is not one of the vault.", id)
	}
	p, err := findPolicy(tx, vault, parsed.Name())
	if holdfast.KindOf(err) == holdfast.NotFound && err != nil {
		err = holdfast.Errorf(holdfast.Invalid, member, "The policy %q was not found in the vault.", parsed.Name())
	}
	return p, err
}

// spec is what a job of the item is for.
func (i Item) spec(ctx context.Context, operation string) job.Spec {
	return job.Spec{Operation: operation, Scope: i.Vault, Subject: i.ID, Entity: i.VM, Principal: resource.Caller(ctx)}
}

// putItem writes an item as it is to be.
func putItem(tx *catalog.Tx, i Item) error {
	_, err := catalog.Write(tx, catalog.Resource{ID: i.ID, Type: resource.TypeItem, Parent: i.Vault}, i)
	return err
}

// Item returns a protected item.
func (s *Service) Item(ctx context.Context, id string) (Item, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Item, error) { return findItem(tx, id) })
}

// Items lists the protected items of a vault, those after an item of the
// listing, at most so many; "" and 0 for all.
func (s *Service) Items(ctx context.Context, vault, after string, limit int) ([]Item, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) ([]Item, error) {
		if _, err := findVault(tx, vault); err != nil {
			return nil, err
		}
		return resource.List(tx, catalog.Query{Type: resource.TypeItem, Parent: vault, After: after, Limit: limit}, decodeItem)
	})
}

// Protectable lists the VMs that a vault could protect and no vault does.
func (s *Service) Protectable(ctx context.Context, vault string) ([]VM, error) {
	v, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Vault, error) { return findVault(tx, vault) })
	if err != nil {
		return nil, err
	}
	all, err := s.VMs(ctx, v.sub(), "")
	if err != nil {
		return nil, err
	}
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) ([]VM, error) {
		return slices.DeleteFunc(all, func(vm VM) bool {
			_, err := tx.Get(claim(vm.ID))
			return resource.Location(vm.Location) != v.Location && !s.Limits.Lifts("ACT-06") || err == nil
		}), nil
	})
}

// ProtectionOf returns the item that protects a VM, or holdfast.NotFound.
func (s *Service) ProtectionOf(ctx context.Context, vm string) (Item, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Item, error) {
		id, _, err := catalog.Read[string](tx, claim(vm))
		if err != nil {
			return Item{}, err
		}
		return findItem(tx, id)
	})
}

// findItem returns an item, or holdfast.NotFound.
func findItem(tx *catalog.Tx, id string) (Item, error) {
	r, err := tx.Get(id)
	if err != nil {
		if holdfast.KindOf(err) == holdfast.NotFound {
			err = holdfast.Errorf(holdfast.NotFound, id, "The protected item %q was not found.", resource.LastName(id))
		}
		return Item{}, err
	}
	return decodeItem(r)
}

// decodeItem reads a row.
func decodeItem(r catalog.Resource) (Item, error) {
	i, err := catalog.Decode[Item](r)
	i.Stamp = resource.StampOf(r)
	return i, err
}

// protectedOf names the items that a condition picks with how many points each
// has, such as "web (3 points)"; "" is none.
func protectedOf(tx *catalog.Tx, pick func(Item) bool) (string, error) {
	items, err := resource.List(tx, catalog.Query{Type: resource.TypeItem}, decodeItem)
	if err != nil {
		return "", err
	}
	var named []string
	for _, i := range items {
		if !pick(i) {
			continue
		}
		n, err := tx.Count(catalog.Query{Type: resource.TypePoint, Parent: i.ID})
		if err != nil {
			return "", err
		}
		if named = append(named, fmt.Sprintf("%s (%d points)", i.VM, n)); len(named) == 10 {
			named = append(named, "and more")
			break
		}
	}
	return strings.Join(named, ", "), nil
}
