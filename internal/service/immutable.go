package service

import (
	"context"
	"slices"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/policy"
	"holdfast/internal/resource"
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
		return resource.NotThere(err)
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
