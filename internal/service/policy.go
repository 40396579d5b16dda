package service

import (
	"context"
	"encoding/json"
	"errors"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/limits"
	"holdfast/internal/policy"
	"holdfast/internal/resource"
)

// Policy is a backup policy of a vault.
type Policy struct {
	resource.Stamp
	Name       string          `json:"name"`
	Properties json.RawMessage `json:"properties"` // as its owner wrote it
	Items      int             `json:"-"`          // how many items it protects
}

// PutPolicy makes or replaces a policy.
func (s *Service) PutPolicy(ctx context.Context, vault, name string, properties json.RawMessage) (Policy, error) {
	if err := resource.CheckName("policy", name); err != nil {
		return Policy{}, err
	}
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (Policy, error) {
		v, err := findVault(tx, vault)
		if err != nil {
			return Policy{}, err
		}
		old, err := findPolicy(tx, vault, name)
		if resource.NotThere(err) != nil {
			return Policy{}, err
		}
		properties = extended(properties, old.Properties)
		p, err := s.newPolicy(properties, old.Properties)
		if err != nil {
			return Policy{}, err
		}
		if err := mayReplace(ctx, tx, v, name, p); err != nil {
			return Policy{}, err
		}
		if err := putPolicy(tx, vault, name, properties); err != nil {
			return Policy{}, err
		}
		return countedPolicy(tx, vault, name)
	})
}

func putPolicy(tx *catalog.Tx, vault, name string, properties json.RawMessage) error {
	_, err := catalog.Write(tx, catalog.Resource{ID: resource.PolicyID(vault, name), Type: resource.TypePolicy, Parent: vault}, Policy{Name: name, Properties: properties})
	return err
}

// extended gives a policy that is to be saved the extension of the one that it
// replaces, unless it says something of its own: Azure's clients read a policy
// into their own model, which has no such member, and send that back.
func extended(properties, old json.RawMessage) json.RawMessage {
	const member = "holdfast"
	var is, was map[string]json.RawMessage
	if json.Unmarshal(properties, &is) != nil || is == nil || json.Unmarshal(old, &was) != nil || was[member] == nil || is[member] != nil {
		return properties
	}
	is[member] = was[member]
	whole, err := json.Marshal(is)
	if err != nil {
		panic("internal error: " + err.Error()) // it has been read from JSON
	}
	return whole
}

// newPolicy reads a policy that is to be saved in place of another, or of none,
// and judges it under the server's limits. One that is saved keeps what it has
// when the limits change.
func (s *Service) newPolicy(properties, old json.RawMessage) (policy.Policy, error) {
	p, err := policy.Parse(properties)
	if err != nil {
		return p, err
	}
	var limit *holdfast.Error
	if !s.Limits.Lifts("ACT-07") && errors.As(p.OnceADay(), &limit) {
		return p, limit.WithHint(limits.Hint)
	}
	if p.Holdfast.FollowDaylightSaving && !s.Limits.Lifts("ACT-11") {
		if was, err := policy.Parse(old); err != nil || !was.Holdfast.FollowDaylightSaving {
			const member = "properties.holdfast.followDaylightSaving"
			return p, holdfast.Errorf(holdfast.Unsupported, member, "%s is true; schedules stay at standard time all year (ACT-11).", member).WithHint(limits.Hint)
		}
	}
	return p, nil
}

// Policy returns one policy of a vault.
func (s *Service) Policy(ctx context.Context, vault, name string) (Policy, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Policy, error) {
		if _, err := findVault(tx, vault); err != nil {
			return Policy{}, err
		}
		return countedPolicy(tx, vault, name)
	})
}

// Policies lists the policies of a vault.
func (s *Service) Policies(ctx context.Context, vault string) ([]Policy, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) ([]Policy, error) {
		if _, err := findVault(tx, vault); err != nil {
			return nil, err
		}
		all, err := resource.List(tx, catalog.Query{Type: resource.TypePolicy, Parent: vault}, decodePolicy)
		if err != nil {
			return nil, err
		}
		counts, err := itemsByPolicy(tx, vault)
		for i := range all {
			all[i].Items = counts[all[i].Name]
		}
		return all, err
	})
}

// DeletePolicy removes a policy that protects nothing.
func (s *Service) DeletePolicy(ctx context.Context, vault, name string) error {
	_, err := resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (struct{}, error) {
		var none struct{}
		p, err := countedPolicy(tx, vault, name)
		if err != nil {
			return none, err
		}
		if p.Items > 0 {
			return none, holdfast.Errorf(holdfast.Invalid, name, "The policy %q protects %d items.", name, p.Items).WithHint("Give them another policy or stop their protection first.")
		}
		_, err = tx.Delete(p.ID)
		return none, err
	})
	return err
}

func countedPolicy(tx *catalog.Tx, vault, name string) (Policy, error) {
	p, err := findPolicy(tx, vault, name)
	if err != nil {
		return p, err
	}
	counts, err := itemsByPolicy(tx, vault)
	p.Items = counts[p.Name]
	return p, err
}

// itemsByPolicy counts a vault's items by the name of their policy. It is
// derived: a stored count could be wrong.
func itemsByPolicy(tx *catalog.Tx, vault string) (map[string]int, error) {
	return tx.CountBy(catalog.Query{Type: resource.TypeItem, Parent: vault}, catalog.MemberPolicy)
}

// findPolicy returns a policy of a vault, or holdfast.NotFound.
func findPolicy(tx *catalog.Tx, vault, name string) (Policy, error) {
	r, err := tx.Get(resource.PolicyID(vault, name))
	if err != nil {
		if holdfast.KindOf(err) == holdfast.NotFound {
			err = holdfast.Errorf(holdfast.NotFound, name, "The policy %q was not found in the vault.", name)
		}
		return Policy{}, err
	}
	return decodePolicy(r)
}

func decodePolicy(r catalog.Resource) (Policy, error) {
	p, err := catalog.Decode[Policy](r)
	p.Stamp = resource.StampOf(r)
	return p, err
}
