package repository

import (
	"context"
	"errors"
	"fmt"

	"holdfast/internal/keyring"
)

// Keys are the repository's key slots. They hold no secret in the clear.
func (r *Repository) Keys(ctx context.Context) ([]keyring.Slot, error) {
	return readSlots(ctx, r.store)
}

// AddKey makes key another one that opens the repository. No data is
// rewritten.
func (r *Repository) AddKey(ctx context.Context, key keyring.Key, label string) (keyring.Slot, error) {
	if err := r.writable(); err != nil {
		return keyring.Slot{}, fmt.Errorf("add key: %w", err)
	}
	slot, err := keyring.Wrap(ctx, r.ring, key, label, r.opt.Clock())
	if err != nil {
		return slot, fmt.Errorf("add key: %w", err)
	}
	if err := writeSlot(ctx, r.store, slot); err != nil {
		return slot, fmt.Errorf("add key: %w", err)
	}
	return slot, nil
}

// ErrLastKey is the refusal to remove the only key.
var ErrLastKey = errors.New("this is the repository's last key")

// RemoveKey takes a key slot away. The last one is refused with ErrLastKey. Who
// has held a removed key and has a copy of its slot can still open what is
// stored.
func (r *Repository) RemoveKey(ctx context.Context, slot string) error {
	if err := r.writable(); err != nil {
		return fmt.Errorf("remove key: %w", err)
	}
	slots, err := readSlots(ctx, r.store)
	if err != nil {
		return fmt.Errorf("remove key: %w", err)
	}
	found := false
	for _, s := range slots {
		found = found || s.ID == slot
	}
	if !found {
		return fmt.Errorf("remove key: there is no key slot %q", slot)
	}
	if len(slots) == 1 {
		return fmt.Errorf("remove key %s: %w", slot, ErrLastKey)
	}
	return deleteSlot(ctx, r.store, slot)
}

// RotateKey puts key in the place of the one that opened the repository.
func (r *Repository) RotateKey(ctx context.Context, key keyring.Key, label string) (keyring.Slot, error) {
	slot, err := r.AddKey(ctx, key, label)
	if err != nil {
		return slot, err
	}
	old := r.slot
	r.slot = slot
	if old.ID == "" {
		return slot, nil
	}
	if err := r.RemoveKey(ctx, old.ID); err != nil {
		return slot, fmt.Errorf("key %s opens the repository now; the old one does too: %w", slot.ID, err)
	}
	return slot, nil
}
