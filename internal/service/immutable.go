package service

import (
	"context"
	"slices"
	"time"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/policy"
)

// The states of a vault's immutability. Locked is for ever.
const (
	unlocked = "Unlocked"
	locked   = "Locked"
)

// Immutability is the state of the vault's immutability: Disabled, Unlocked or Locked.
func (v Vault) Immutability() string {
	return v.Setting("securitySettings", "immutabilitySettings", "state")
}

// Immutable says that no point of the vault goes before its time, whoever asks:
// neither an API nor a role shortens how long it is kept. Unlocked and Locked
// refuse the same; only Unlocked can be turned off.
func (v Vault) Immutable() bool { return v.Immutability() == unlocked || v.Immutability() == locked }

// immutable is the refusal of what would let a point go before its time.
func (v Vault) immutable(target, format string, args ...any) error {
	e := holdfast.Errorf(holdfast.Unsupported, target, format, args...)
	e.Message += " The vault " + v.Name + " is immutable (" + v.Immutability() + ")."
	return e
}

// mayDelete refuses to delete an item with points whose time is not over from an
// immutable vault.
func mayDelete(tx *catalog.Tx, v Vault, i Item) error {
	if !v.Immutable() {
		return nil
	}
	b, err := believed(tx)
	if err != nil {
		return err
	}
	points, err := pointsOf(tx, i.ID)
	if err != nil {
		return err
	}
	for _, p := range points {
		if p.Expires.IsZero() || b.Time.IsZero() || p.Expires.After(b.Time) {
			return v.immutable(i.VM, "%q has a recovery point, %s, that is kept until %s.", i.VM, p.Name, until(p.Expires))
		}
	}
	return nil
}

// until says until when a point is kept, for messages.
func until(t time.Time) string {
	if t.IsZero() {
		return "it is told otherwise"
	}
	return t.Format(time.RFC3339)
}

// mayHarden judges a change of a vault's settings by what comes of it, however it
// was asked for: what is locked or always on stays so, and what weakens the vault
// needs a second person if a guard says so.
func mayHarden(ctx context.Context, tx *catalog.Tx, was, is Vault) error {
	const soft = "properties.securitySettings.softDeleteSettings"
	if was.Immutability() == locked && is.Immutability() != locked {
		return holdfast.Errorf(holdfast.Unsupported, "properties.securitySettings.immutabilitySettings.state", "The immutability of the vault %q is locked, which cannot be undone.", was.Name)
	}
	weaker := was.Immutable() && !is.Immutable() || is.SoftDeleteDays() < was.SoftDeleteDays()
	for _, member := range []string{"softDeleteState", "enhancedSecurityState"} {
		before, after := was.Setting("securitySettings", "softDeleteSettings", member), is.Setting("securitySettings", "softDeleteSettings", member)
		if before == "AlwaysON" && after != before {
			return holdfast.Errorf(holdfast.Unsupported, soft+"."+member, "%s.%s of the vault %q is AlwaysON, which cannot be undone.", soft, member, was.Name)
		}
		weaker = weaker || before == "Enabled" && after != "Enabled" && after != "AlwaysON"
	}
	if is.Immutability() != "" && !slices.Contains([]string{"Disabled", unlocked, locked}, is.Immutability()) || is.SoftDeleteDays() < 14 {
		return holdfast.Errorf(holdfast.Invalid, "properties.securitySettings", "properties.securitySettings is not readable any more.")
	}
	if weaker {
		return permitted(ctx, tx, was, disableSecurity)
	}
	return nil
}

// mayReplace judges a change of a policy.
func mayReplace(ctx context.Context, tx *catalog.Tx, v Vault, name string, p policy.Policy) error {
	old, err := findPolicy(tx, v.ID, name)
	if err != nil {
		return notThere(err)
	}
	was, err := policy.Parse(old.Properties)
	if err != nil {
		return nil // a broken one keeps everything: what replaces it weakens nothing that held
	}
	member := p.Retention.Shorter(was.Retention)
	switch {
	case member == "":
		return nil
	case v.Immutable():
		return v.immutable(member, "%s keeps less than the policy %q does now.", member, name)
	}
	return permitted(ctx, tx, v, weakenPolicy)
}

// mayStop judges the end of an item's backups. An immutable vault allows it: its
// points stay.
func mayStop(ctx context.Context, tx *catalog.Tx, i Item) error {
	v, err := findVault(tx, i.Vault)
	if err != nil {
		return err
	}
	return permitted(ctx, tx, v, weakenItem)
}

// mayChange judges another policy for an item, or a change of which disks are in.
func mayChange(ctx context.Context, tx *catalog.Tx, i Item, row Policy, disks bool) error {
	v, err := findVault(tx, i.Vault)
	if err != nil {
		return err
	}
	p, err := policy.Parse(row.Properties)
	if err != nil {
		return err
	}
	shorter := ""
	if was, err := findPolicy(tx, i.Vault, i.Policy); i.Policy != "" && err == nil {
		if old, err := policy.Parse(was.Properties); err == nil {
			shorter = p.Retention.Shorter(old.Retention)
		}
	}
	if shorter != "" && v.Immutable() {
		return v.immutable("properties.policyId", "The policy %q keeps less (%s) than %q, which %q has now.", row.Name, shorter, i.Policy, i.VM)
	}
	points, err := pointsOf(tx, i.ID)
	if err != nil {
		return err
	}
	for n, m := range p.Remark(asMade(points)) { // of an item that was stopped, too
		if !v.Immutable() && sooner(m.Expires, points[n].Expires) {
			shorter = row.Name
		}
	}
	if shorter == "" && !disks {
		return nil
	}
	return permitted(ctx, tx, v, weakenItem)
}

// Protection is what the immutability of a vault keeps, or would keep.
type Protection struct {
	State     string // it has now
	Points    int    // not expired yet
	Until     time.Time
	ForEver   bool // some are kept until somebody says otherwise
	HoldDays  int  // for how long the store itself refuses to delete; 0: it does not
	WouldHold int  // for how long it would be asked to in a locked vault
}

// Protection says what locking a vault means: which points nobody can delete any
// more, and until when. Nothing is changed.
func (s *Service) Protection(ctx context.Context, sub, group, name string) (Protection, error) {
	return read(ctx, s, func(tx *catalog.Tx) (p Protection, err error) {
		v, err := findVault(tx, inGroup(sub, group, TypeVault, name))
		if err != nil {
			return p, err
		}
		p.State = v.Immutability()
		if p.State == "" {
			p.State = "Disabled"
		}
		p.HoldDays, p.WouldHold = v.HoldDays, v.SoftDeleteDays()
		b, err := believed(tx)
		if err != nil {
			return p, err
		}
		items, err := list(tx, catalog.Query{Type: TypeItem, Parent: v.ID}, decodeItem)
		for _, i := range items {
			points, listErr := pointsOf(tx, i.ID)
			if err = listErr; err != nil {
				break
			}
			for _, point := range points {
				if point.Expires.IsZero() || point.Expires.After(b.Time) {
					p.Points++
				}
				p.ForEver = p.ForEver || point.Expires.IsZero()
				if point.Expires.After(p.Until) {
					p.Until = point.Expires
				}
			}
		}
		return p, err
	})
}
