package service

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/resource"
)

// TypeEncryptionSet is the resource type of a disk encryption set.
const TypeEncryptionSet = "Microsoft.Compute/diskEncryptionSets"

// SetKind is what a disk encryption set encrypts with (armcompute/v6,
// DiskEncryptionSetType).
type SetKind string

// The kinds. Confidential machines are not backed up, so that theirs is none.
const (
	CustomerKey SetKind = "EncryptionAtRestWithCustomerKey"
	// BothKeys encrypts twice: with the customer's key, and with one of the server.
	BothKeys SetKind = "EncryptionAtRestWithPlatformAndCustomerKeys"
)

// EncryptionSet names a customer's key. The points of a VM whose disks name the set
// are sealed under that key, in an operational repository of their own
// (docs/design/operational.md): without the key nobody reads them.
type EncryptionSet struct {
	resource.Stamp
	Name     string            `json:"name"`
	Location string            `json:"location"` // of the site whose disks may name it
	Tags     map[string]string `json:"tags,omitempty"`
	GUID     string            `json:"guid"`
	Kind     SetKind           `json:"kind"`
	KeyURL   string            `json:"keyUrl"` // as it was given
	// SourceVault and Identity are what clients send for Azure, and get back.
	SourceVault string `json:"sourceVault,omitempty"` // ARM id
	Identity    string `json:"identity,omitempty"`    // type
}

// EncryptionSetInput is what a client wants of a set. "" and nil leave what is there.
type EncryptionSetInput struct {
	Location, KeyURL, SourceVault, Identity string
	Kind                                    SetKind
	Tags                                    map[string]string
}

func encryptionSetID(sub, group, name string) string {
	return resource.InGroup(sub, group, TypeEncryptionSet, name)
}

// PutEncryptionSet makes a set, or changes the tags of one that is there. The key
// service is asked before anything is stored.
func (s *Service) PutEncryptionSet(ctx context.Context, sub, group, name string, in EncryptionSetInput) (EncryptionSet, error) {
	old, err := s.EncryptionSet(ctx, encryptionSetID(sub, group, name))
	switch {
	case err == nil:
		return s.changeSet(ctx, old, in)
	case holdfast.KindOf(err) != holdfast.NotFound:
		return old, err
	}
	e := EncryptionSet{Name: name, Location: resource.Location(in.Location), Tags: in.Tags, GUID: uuid.NewString(), Kind: in.Kind, KeyURL: in.KeyURL, SourceVault: in.SourceVault, Identity: in.Identity}
	if err := e.check(); err != nil {
		return e, err
	}
	if _, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Site, error) { return siteAt(tx, sub, "location", in.Location) }); err != nil {
		return e, err
	}
	if err := s.Provisioner.TryKey(ctx, keyService(e.KeyURL)); err != nil {
		return e, unusable(e.KeyURL, err)
	}
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (EncryptionSet, error) {
		g, err := resource.FindGroup(tx, sub, group)
		if err != nil {
			return e, err
		}
		e.ID = encryptionSetID(sub, g.Name, name)
		if _, err := tx.Get(e.ID); err == nil {
			return e, holdfast.Errorf(holdfast.Conflict, e.ID, "The disk encryption set %q was made by somebody else meanwhile.", name)
		}
		return putEncryptionSet(tx, e)
	})
}

// unusable says why a key is not taken.
func unusable(keyURL string, err error) error {
	why := err.Error()
	if known := new(holdfast.Error); errors.As(err, &known) {
		why = known.Message
	}
	return holdfast.Errorf(holdfast.KindOf(err), activeKey, "%s is %q, which cannot be used: %s", activeKey, keyURL, why).
		WithHint("Let the server reach the key service, and give its user the right to encrypt and decrypt with the key.").WithCause(err)
}

const activeKey = "properties.activeKey.keyUrl"

// check refuses a set that cannot be.
func (e *EncryptionSet) check() error {
	if err := resource.CheckName("disk encryption set", e.Name); err != nil {
		return err
	}
	if err := resource.CheckTags(e.Tags); err != nil {
		return err
	}
	if e.Kind == "" {
		e.Kind = CustomerKey // as Azure does
	}
	i := slices.IndexFunc([]SetKind{CustomerKey, BothKeys}, func(k SetKind) bool { return strings.EqualFold(string(k), string(e.Kind)) })
	switch {
	case i < 0:
		return holdfast.Errorf(holdfast.Unsupported, "properties.encryptionType", "properties.encryptionType is %q; a set is %s or %s.", e.Kind, CustomerKey, BothKeys)
	case e.KeyURL == "":
		return holdfast.Errorf(holdfast.Invalid, activeKey, "%s is missing: it names the key in its key service, such as hashivault://KEY.", activeKey)
	case strings.HasPrefix(e.KeyURL, "base64key:"):
		return holdfast.Errorf(holdfast.Invalid, activeKey, "%s is itself the key, which the server would keep; it must name one in a key service, such as hashivault://KEY.", activeKey)
	}
	e.Kind = []SetKind{CustomerKey, BothKeys}[i]
	return nil
}

// keyService is a key's URL as the movers know it: that of a key in Azure's Key Vault
// (https://VAULT.vault.azure.net/keys/KEY) is one of its service there.
func keyService(keyURL string) string {
	u, err := url.Parse(keyURL)
	if err == nil && u.Scheme == "https" && strings.HasSuffix(u.Hostname(), ".vault.azure.net") {
		u.Scheme = "azurekeyvault"
		return u.String()
	}
	return keyURL
}

// changeSet changes the tags of a set; the rest of it does not change: what is sealed
// under its key stays so.
func (s *Service) changeSet(ctx context.Context, old EncryptionSet, in EncryptionSetInput) (EncryptionSet, error) {
	for _, c := range []struct{ member, has, wants string }{
		{"location", old.Location, resource.Location(in.Location)},
		{"properties.encryptionType", string(old.Kind), string(in.Kind)},
		{activeKey, old.KeyURL, in.KeyURL},
	} {
		if c.wants != "" && !strings.EqualFold(c.has, c.wants) {
			return old, holdfast.Errorf(holdfast.Unsupported, c.member, "%s of the disk encryption set %q is %q, which does not change: points are sealed under it.", c.member, old.Name, c.has).
				WithHint("Turn the key over in its key service, which goes on opening what was sealed; or make another set, and name that in the disks.")
		}
	}
	return s.TagEncryptionSet(ctx, old.ID, in.Tags)
}

// UpdateEncryptionSet changes the tags of a set that is there; what else is sent has
// to be as it is.
func (s *Service) UpdateEncryptionSet(ctx context.Context, id string, in EncryptionSetInput) (EncryptionSet, error) {
	old, err := s.EncryptionSet(ctx, id)
	if err != nil {
		return old, err
	}
	return s.changeSet(ctx, old, in)
}

// TagEncryptionSet replaces the tags of a set; nil leaves them.
func (s *Service) TagEncryptionSet(ctx context.Context, id string, tags map[string]string) (EncryptionSet, error) {
	if err := resource.CheckTags(tags); err != nil {
		return EncryptionSet{}, err
	}
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (EncryptionSet, error) {
		e, err := findEncryptionSet(tx, id)
		if err != nil || tags == nil {
			return e, err
		}
		e.Tags = tags
		return putEncryptionSet(tx, e)
	})
}

// EncryptionSet returns one set.
func (s *Service) EncryptionSet(ctx context.Context, id string) (EncryptionSet, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (EncryptionSet, error) { return findEncryptionSet(tx, id) })
}

// EncryptionSets lists the sets of a subscription, or of one group.
func (s *Service) EncryptionSets(ctx context.Context, sub, group string) ([]EncryptionSet, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) ([]EncryptionSet, error) {
		if group == "" {
			return resource.List(tx, catalog.Query{Type: TypeEncryptionSet, Under: resource.SubscriptionID(sub)}, decodeEncryptionSet)
		}
		g, err := resource.FindGroup(tx, sub, group)
		if err != nil {
			return nil, err
		}
		return resource.List(tx, catalog.Query{Type: TypeEncryptionSet, Parent: g.ID}, decodeEncryptionSet)
	})
}

// SetUsers lists the ids of the disks that name a set.
func (s *Service) SetUsers(ctx context.Context, id string) (ids []string, err error) {
	e, err := s.EncryptionSet(ctx, id)
	if err != nil {
		return nil, err
	}
	site, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Site, error) { return findSite(tx, resource.IDOf(e.ID).Subscription, e.Location) })
	if err != nil {
		return nil, resource.NotThere(err) // a site that is gone has no disks
	}
	have, err := s.Inventory.Discover(ctx, site.Ref())
	for _, f := range have.VMs {
		vm := vmOf(site, f)
		for _, k := range vm.Disks {
			if strings.EqualFold(vm.EncryptionSet(k.Target), e.ID) {
				ids = append(ids, DiskID(vm.site, k.Pool, k.Path))
			}
		}
	}
	return ids, err
}

// DeleteEncryptionSet removes a set that no disk names and no point is sealed for,
// and says whether it was there.
func (s *Service) DeleteEncryptionSet(ctx context.Context, id string) (bool, error) {
	users, err := s.SetUsers(ctx, id)
	if err != nil {
		return false, resource.NotThere(err)
	}
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (bool, error) {
		e, err := findEncryptionSet(tx, id)
		if err != nil {
			return false, resource.NotThere(err)
		}
		if len(users) > 0 {
			return false, e.named(users)
		}
		if err := s.unused(tx, e); err != nil {
			return false, err
		}
		return tx.Delete(e.ID)
	})
}

// unused refuses to forget a set with whose key points are sealed.
func (s *Service) unused(tx *catalog.Tx, e EncryptionSet) error {
	restorePoints, err := resource.List(tx, catalog.Query{Type: resource.TypeRestorePoint, Under: resource.SubscriptionID(resource.IDOf(e.ID).Subscription)}, decodeRestorePoint)
	for _, p := range restorePoints {
		if strings.EqualFold(p.Set, e.ID) {
			return holdfast.Errorf(holdfast.Conflict, e.ID, "The restore point %s is sealed under the key of the disk encryption set %q.", p.ID, e.Name).WithHint("Delete the restore point first.")
		}
	}
	if err != nil {
		return err
	}
	return s.Sealed(tx, e)
}

// namedSet is the set that a disk names, which is one of the machine's site.
func namedSet(tx *catalog.Tx, vm VM, k holdfast.DiskFact) (EncryptionSet, error) {
	member := fmt.Sprintf("The disk %s of %q", k.Target, vm.Name)
	const hint = "Name a disk encryption set of its location in all of its disks, or none (az disk update --disk-encryption-set)."
	e, err := findEncryptionSet(tx, vm.EncryptionSet(k.Target))
	switch {
	case err != nil && holdfast.KindOf(err) == holdfast.NotFound:
		return e, holdfast.Errorf(holdfast.Unsupported, "properties.storageProfile", "%s names the disk encryption set %q, which is not there.", member, vm.EncryptionSet(k.Target)).WithHint(hint)
	case err == nil && e.Location != resource.Location(vm.site.Name):
		return e, holdfast.Errorf(holdfast.Unsupported, "properties.storageProfile", "%s names the disk encryption set %s, which is in %s; the disk is in %s.", member, e.ID, e.Location, vm.site.Name).WithHint(hint)
	}
	return e, err
}

func putEncryptionSet(tx *catalog.Tx, e EncryptionSet) (EncryptionSet, error) {
	id := resource.IDOf(e.ID)
	r, err := catalog.Write(tx, catalog.Resource{ID: e.ID, Type: TypeEncryptionSet, Parent: resource.GroupID(id.Subscription, id.Group)}, e)
	e.Stamp = resource.StampOf(r)
	return e, err
}

func findEncryptionSet(tx *catalog.Tx, id string) (EncryptionSet, error) {
	r, err := tx.Get(id)
	if err == nil && !strings.EqualFold(r.Type, TypeEncryptionSet) {
		err = holdfast.Errorf(holdfast.NotFound, id, "not found")
	}
	if err != nil {
		if holdfast.KindOf(err) == holdfast.NotFound {
			err = holdfast.Errorf(holdfast.NotFound, id, "The disk encryption set %q was not found.", resource.LastName(id))
		}
		return EncryptionSet{}, err
	}
	return decodeEncryptionSet(r)
}

func decodeEncryptionSet(r catalog.Resource) (EncryptionSet, error) {
	e, err := catalog.Decode[EncryptionSet](r)
	e.Stamp = resource.StampOf(r)
	return e, err
}

// EncryptionSets are the ids of the disk encryption sets that the machine's disks are
// to name.
func (in VMUpdate) EncryptionSets() (ids []string) {
	kept := []map[string]any{in.KeptOfOSDisk}
	for _, w := range in.Disks {
		kept = append(kept, w.Kept)
	}
	for _, k := range kept {
		f := holdfast.VMFact{Kept: map[string]any{ofDisks: map[string]any{"": k}}}
		if id := f.EncryptionSet(""); id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// namesSets refuses disk encryption sets that a machine's disks cannot name.
func (s *Service) namesSets(ctx context.Context, vm VM, in VMUpdate) error {
	const member = "diskEncryptionSet.id"
	_, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (any, error) {
		for _, id := range in.EncryptionSets() {
			if slices.ContainsFunc(vm.Disks, func(k holdfast.DiskFact) bool { return strings.EqualFold(vm.EncryptionSet(k.Target), id) }) {
				continue // read and sent back, as clients do
			}
			e, err := findEncryptionSet(tx, id)
			switch {
			case err != nil && holdfast.KindOf(err) == holdfast.NotFound:
				return nil, holdfast.Errorf(holdfast.Invalid, member, "%s is %q; there is no such disk encryption set.", member, id)
			case err != nil:
				return nil, err
			case e.Location != resource.Location(vm.site.Name):
				return nil, holdfast.Errorf(holdfast.Invalid, member, "%s is %q, which is in %s; the disks of %q name one in %s.", member, id, e.Location, vm.Name, vm.site.Name)
			}
		}
		return nil, nil
	})
	return err
}

// kindOf is what a set encrypts with; known are those that were read. "" is that of
// one that is not there.
func (s *Service) kindOf(ctx context.Context, known map[string]SetKind, id string) SetKind {
	if _, ok := known[id]; !ok {
		e, _ := s.EncryptionSet(ctx, id)
		known[id] = e.Kind
	}
	return known[id]
}

// setsUnused refuses to take away a group of which a set is named by disks.
func (s *Service) setsUnused(ctx context.Context, sub, group string) error {
	sets, err := s.EncryptionSets(ctx, sub, group)
	for _, e := range sets {
		users, err := s.SetUsers(ctx, e.ID)
		if err != nil {
			return err
		}
		if len(users) > 0 {
			return e.named(users)
		}
	}
	return err
}

// named refuses to forget a set that disks name.
func (e EncryptionSet) named(users []string) error {
	return holdfast.Errorf(holdfast.Conflict, e.ID, "The disk encryption set %q is named by %d disks, %s first.", e.Name, len(users), users[0]).
		WithHint("Name another one there, or none.")
}

// deleteSets removes the sets of a group, if they may go.
func (s *Service) deleteSets(tx *catalog.Tx, g resource.Group, may func(action, id string) bool) error {
	sets, err := resource.List(tx, catalog.Query{Type: TypeEncryptionSet, Parent: g.ID}, decodeEncryptionSet)
	for _, e := range sets {
		if !may(TypeEncryptionSet+"/delete", e.ID) {
			return holdfast.Errorf(holdfast.Forbidden, e.ID, "The resource group %q holds %s, which the caller may not delete.", g.Name, e.ID)
		}
		if err := s.unused(tx, e); err != nil {
			return err
		}
	}
	return err
}
