package service

import (
	"time"

	"holdfast"
	"holdfast/internal/catalog"
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
