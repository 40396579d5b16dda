package service

import (
	"context"
	"errors"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"holdfast"
	"holdfast/internal/arm"
	"holdfast/internal/authz"
	"holdfast/internal/catalog"
	"holdfast/internal/policy"
	"holdfast/internal/resource"
)

// Vault is a Recovery Services vault; its body is a repository.
type Vault struct {
	resource.Stamp
	Name         string                 `json:"name"`
	Location     string                 `json:"location"` // the site, in lower case
	GUID         string                 `json:"guid"`
	Repository   holdfast.RepositoryRef `json:"repository"`
	RepositoryID string                 `json:"repositoryId"`
	// HoldDays is for how long the store itself refuses to delete; 0: it does not.
	HoldDays int               `json:"holdDays,omitempty"`
	Tags     map[string]string `json:"tags,omitempty"`
	SKU      map[string]any    `json:"sku,omitempty"`
	Identity map[string]any    `json:"identity,omitempty"`
	// Settings are the properties that belong to clients, as they were sent:
	// members that Holdfast does not know survive.
	Settings map[string]any `json:"settings,omitempty"`
}

// VaultInput is what a client may say of a vault. Settings is merged into what
// is there (RFC 7396).
type VaultInput struct {
	Location      string
	Tags          map[string]string
	SKU, Identity map[string]any
	Settings      map[string]any
	RepositoryURL string // only at creation; "" is a directory of the server
	KeyID         string // only at creation; "" is a new key
	KeyURL        string // only at creation: the key in a key service
}

// sub is the subscription of the vault, its GUID.
func (v Vault) sub() string { return resource.IDOf(v.ID).Subscription }

func (v Vault) group() string { return resource.IDOf(v.ID).Group }

// PutVault makes a vault with its repository and default policies, or updates
// one. The repository is made before the vault is stored: a place that is full,
// not writable or holds something else is refused, and no vault is left.
func (s *Service) PutVault(ctx context.Context, sub, group, name string, in VaultInput) (out Vault, created bool, err error) {
	id := resource.InGroup(sub, group, resource.TypeVault, name)
	if err := checkSettings(in.Settings); err != nil {
		return out, false, err
	}
	old, err := s.Vault(ctx, sub, group, name)
	if err == nil {
		out, err = s.changeVault(ctx, old, in)
		return out, false, err
	}
	if holdfast.KindOf(err) != holdfast.NotFound {
		return out, false, err
	}
	if err := resource.CheckName("vault", name); err != nil {
		return out, false, err
	}
	v := Vault{Stamp: resource.Stamp{ID: id}, Name: name, Location: resource.Location(in.Location), GUID: uuid.NewString(),
		Tags: in.Tags, SKU: in.SKU, Identity: in.Identity, Settings: resource.Merge(nil, in.Settings)}
	if v.Repository, err = s.place(in, v.GUID); err != nil {
		return out, false, err
	}
	if _, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (any, error) { return nil, checkVault(tx, v) }); err != nil {
		return out, false, err
	}
	made, err := s.Provisioner.Provision(ctx, holdfast.ProvisionArgs{Repository: v.Repository, Find: true})
	if err != nil {
		return out, false, err
	}
	v.RepositoryID = made.RepositoryID
	if v.HoldDays, err = s.hold(ctx, v); err != nil {
		return out, false, err
	}
	out, err = resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (Vault, error) {
		if err := checkVault(tx, v); err != nil { // again: the world moved while the repository was made
			return v, err
		}
		for name, body := range policy.Defaults(tx.Now()) {
			if err := putPolicy(tx, v.ID, name, body); err != nil {
				return v, err
			}
		}
		if err := s.TakeOver(ctx, tx, v, made); err != nil {
			return v, err
		}
		return putVault(tx, v)
	})
	return out, true, err
}

// place says where a new vault's repository lives.
func (s *Service) place(in VaultInput, guid string) (holdfast.RepositoryRef, error) {
	ref := holdfast.RepositoryRef{URL: in.RepositoryURL, KeyID: in.KeyID, KeyURL: in.KeyURL}
	if err := in.checkKey(); err != nil {
		return ref, err
	}
	const member = "properties.holdfast.repositoryUrl"
	if ref.KeyID == "" {
		ref.KeyID = guid
	}
	if err := resource.CheckName("key", ref.KeyID); err != nil {
		return ref, holdfast.Errorf(holdfast.Invalid, "properties.holdfast.keyId", "properties.holdfast.keyId is %q; it must be %s.", ref.KeyID, arm.NameRule)
	}
	if ref.URL == "" {
		ref.URL = filepath.Join(s.DataDir, "vaults", guid)
	}
	if filepath.IsAbs(ref.URL) {
		ref.URL = (&url.URL{Scheme: "file", Path: filepath.Clean(ref.URL)}).String()
	}
	u, err := url.Parse(ref.URL)
	if err != nil || u.Scheme == "" {
		return ref, holdfast.Errorf(holdfast.Invalid, member, "%s is %q; it must be an absolute path or a URL such as s3://bucket/prefix.", member, in.RepositoryURL)
	}
	if u.User != nil {
		return ref, holdfast.Errorf(holdfast.Invalid, member, "%s holds credentials; they belong into the server's environment.", member)
	}
	return ref, nil
}

// checkKey judges where a new vault's key is.
func (in VaultInput) checkKey() error {
	const member = "properties.holdfast.keyUrl"
	switch {
	case in.KeyURL == "":
		return nil
	case in.KeyID != "":
		return holdfast.Errorf(holdfast.Invalid, member, "%s and properties.holdfast.keyId are given; the key is in a key service or in the server's directory.", member)
	case strings.HasPrefix(in.KeyURL, "base64key:"): // the movers say what else is wrong
		return holdfast.Errorf(holdfast.Invalid, member, "%s is itself the key, which the server would keep; it must name one in a key service, such as hashivault://KEY.", member)
	}
	return nil
}

// checkVault refuses a new vault that may not be.
func checkVault(tx *catalog.Tx, v Vault) error {
	if _, err := resource.FindGroup(tx, v.sub(), v.group()); err != nil {
		return err
	}
	if _, err := siteAt(tx, v.sub(), "location", v.Location); err != nil {
		return err
	}
	all, err := resource.List(tx, catalog.Query{Type: resource.TypeVault}, decodeVault)
	if err != nil {
		return err
	}
	for _, o := range all {
		if strings.EqualFold(o.ID, v.ID) {
			return holdfast.Errorf(holdfast.Conflict, v.Name, "The vault %q was made by another request.", v.Name)
		}
		if o.Repository.URL == v.Repository.URL {
			return holdfast.Errorf(holdfast.Conflict, "properties.holdfast.repositoryUrl", "The repository at %s already belongs to a vault.", v.Repository.URL)
		}
	}
	return nil
}

// changeVault updates a vault: its location and its repository stay.
func (s *Service) changeVault(ctx context.Context, v Vault, in VaultInput) (Vault, error) {
	if in.Location != "" && resource.Location(in.Location) != v.Location {
		return v, holdfast.Errorf(holdfast.Conflict, "location", "The vault %q is in %s; its location cannot change to %s.", v.Name, v.Location, in.Location)
	}
	if place, err := s.place(in, v.GUID); in.RepositoryURL != "" && (err != nil || place.URL != v.Repository.URL) {
		return v, holdfast.Errorf(holdfast.Invalid, "properties.holdfast.repositoryUrl", "The vault %q lives at %s; that cannot change.", v.Name, v.Repository.URL)
	}
	next := v
	next.Settings = resource.Merge(v.Settings, in.Settings)
	if _, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (any, error) { return nil, mayHarden(ctx, tx, v, next) }); err != nil {
		return v, err
	}
	days, err := s.hold(ctx, next)
	if err != nil {
		return v, err
	}
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (Vault, error) {
		v, err := findVault(tx, v.ID)
		if err != nil {
			return v, err
		}
		more := days > v.HoldDays
		v.HoldDays = max(v.HoldDays, days)
		if err := checkRedundancy(tx, v, in.Settings); err != nil {
			return v, err
		}
		was := v
		v.Settings = resource.Merge(v.Settings, in.Settings)
		if err := mayHarden(ctx, tx, was, v); err != nil {
			return v, err
		}
		if in.Tags != nil {
			v.Tags = in.Tags
		}
		if in.Identity != nil {
			v.Identity = in.Identity
		}
		if more {
			if err := s.extend(ctx, tx, v); err != nil {
				return v, err
			}
		}
		return putVault(tx, v)
	})
}

// UpdateVault merges into a vault that is there.
func (s *Service) UpdateVault(ctx context.Context, sub, group, name string, in VaultInput) (Vault, error) {
	if err := checkSettings(in.Settings); err != nil {
		return Vault{}, err
	}
	v, err := s.Vault(ctx, sub, group, name)
	if err != nil {
		return v, err
	}
	return s.changeVault(ctx, v, in)
}

func putVault(tx *catalog.Tx, v Vault) (Vault, error) {
	r, err := catalog.Write(tx, catalog.Resource{ID: v.ID, Type: resource.TypeVault, Parent: resource.GroupID(v.sub(), v.group())}, v)
	v.Stamp = resource.StampOf(r)
	return v, err
}

// Vault returns one vault.
func (s *Service) Vault(ctx context.Context, sub, group, name string) (Vault, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Vault, error) {
		return findVault(tx, resource.InGroup(sub, group, resource.TypeVault, name))
	})
}

// Unusable says why nothing can be written to or read from a vault, "" for no
// reason that can be seen.
func (s *Service) Unusable(v Vault) string {
	err := s.Provisioner.Usable(v.Repository)
	var e *holdfast.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return strings.TrimSpace(e.Message + " " + e.Hint)
	}
	return "The key of the repository cannot be read."
}

// Vaults lists the vaults of a resource group, or of a subscription for "".
func (s *Service) Vaults(ctx context.Context, sub, group string) ([]Vault, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) ([]Vault, error) {
		if group == "" {
			return resource.List(tx, catalog.Query{Type: resource.TypeVault, Under: resource.SubscriptionID(sub)}, decodeVault)
		}
		if _, err := resource.FindGroup(tx, sub, group); err != nil {
			return nil, err
		}
		return resource.List(tx, catalog.Query{Type: resource.TypeVault, Parent: resource.GroupID(sub, group)}, decodeVault)
	})
}

// Usage says how many items and policies a vault has.
func (s *Service) Usage(ctx context.Context, vault string) (items, policies int, err error) {
	_, err = resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (any, error) {
		if _, err := findVault(tx, vault); err != nil {
			return nil, err
		}
		if items, err = tx.Count(catalog.Query{Type: resource.TypeItem, Parent: vault}); err != nil {
			return nil, err
		}
		policies, err = tx.Count(catalog.Query{Type: resource.TypePolicy, Parent: vault})
		return nil, err
	})
	return items, policies, err
}

// DeleteVault forgets a vault that protects nothing. Its repository stays where
// it is: bytes are deleted by nobody's accident.
func (s *Service) DeleteVault(ctx context.Context, sub, group, name string) error {
	_, err := resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (struct{}, error) {
		v, err := findVault(tx, resource.InGroup(sub, group, resource.TypeVault, name))
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, deleteVault(tx, v)
	})
	return err
}

// deleteVault forgets a vault with all that is in it, if that protects nothing.
func deleteVault(tx *catalog.Tx, v Vault) error {
	n, err := tx.Count(catalog.Query{Type: resource.TypeItem, Parent: v.ID})
	if err != nil {
		return err
	}
	if n > 0 { // az looks for the words "existing resources within the vault" (arm-contract, 5)
		return holdfast.Errorf(holdfast.Invalid, v.Name, "The vault %q cannot be deleted as there are existing resources within the vault: %d protected items.", v.Name, n).
			WithHint("Stop their protection and delete their data first.")
	}
	if err := tx.DeleteUnder(v.ID); err != nil {
		return err
	}
	_, err = tx.Delete(v.ID)
	return err
}

// findVault returns a vault, or holdfast.NotFound.
func findVault(tx *catalog.Tx, id string) (Vault, error) {
	r, err := tx.Get(id)
	if err != nil {
		if holdfast.KindOf(err) == holdfast.NotFound {
			err = holdfast.Errorf(holdfast.NotFound, id, "The vault %q was not found.", resource.LastName(id))
		}
		return Vault{}, err
	}
	return decodeVault(r)
}

// decodeVault reads a row.
func decodeVault(r catalog.Resource) (Vault, error) {
	v, err := catalog.Decode[Vault](r)
	v.Stamp = resource.StampOf(r)
	return v, err
}

// moveVault gives a vault, with all that is in it, its new id. Who was given a
// role at the vault itself has it no more: in Azure such an assignment is left
// behind, too.
func moveVault(tx *catalog.Tx, v Vault, to string) error {
	given, err := authz.Assignments(tx, catalog.Query{Under: v.ID})
	if err != nil {
		return err
	}
	for _, a := range given {
		if _, err := tx.Delete(a.ID); err != nil {
			return err
		}
	}
	if err := tx.Move(v.ID, to); err != nil {
		return err
	}
	v.ID = to
	_, err = putVault(tx, v)
	return err
}
