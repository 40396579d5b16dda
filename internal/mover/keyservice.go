package mover

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"holdfast"
	"holdfast/internal/keyring"
	"holdfast/internal/repository"
)

// keyPatience is how long a key service may take for one answer.
const keyPatience = 20 * time.Second

// inService is a key in a key service: its owner can take it away.
type inService struct{ keyring.Key }

// serviceKey is the key at a URL. A URL that is the key itself is refused: the
// server would keep it.
func serviceKey(url string) (keyring.Key, error) {
	const member = "properties.holdfast.keyUrl"
	key, err := keyring.KMS(url)
	if err != nil {
		return nil, holdfast.Errorf(holdfast.Invalid, member, "%s names no key in a key service: %v.", member, err)
	}
	if strings.HasPrefix(url, "base64key:") {
		return nil, holdfast.Errorf(holdfast.Invalid, member, "%s is itself the key, which the server would keep; it must name one in a key service.", member)
	}
	return inService{key}, nil
}

// Wrap says of a service that does not answer what the key was for.
func (k inService) Wrap(ctx context.Context, s *keyring.Slot, secret []byte) error {
	ctx, cancel := context.WithTimeout(ctx, keyPatience)
	defer cancel()
	return k.explain(k.Key.Wrap(ctx, s, secret))
}

// Unwrap says of a service that does not answer what the key was for.
func (k inService) Unwrap(ctx context.Context, s keyring.Slot) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, keyPatience)
	defer cancel()
	secret, err := k.Key.Unwrap(ctx, s)
	return secret, k.explain(err)
}

func (k inService) explain(err error) error {
	if err == nil || errors.Is(err, keyring.ErrWrongKey) {
		return err
	}
	return holdfast.Errorf(holdfast.WrongKey, "properties.holdfast.keyUrl", "The key service does not give the repository's key: %v.", err).
		WithHint("Only its owner has that key: let the server reach the service, and give its user the right to use the key.").WithCause(err)
}

// TryKey asks a key service to seal something under a key and to open it again: who
// names the key wrongly, or may not use it, learns it before anything is sealed.
func TryKey(ctx context.Context, url string) error {
	key, err := serviceKey(url)
	if err != nil {
		return err
	}
	var slot keyring.Slot
	probe := rand.Text()
	if err := key.Wrap(ctx, &slot, []byte(probe)); err != nil {
		return err
	}
	back, err := key.Unwrap(ctx, slot)
	if err == nil && string(back) != probe {
		err = keyring.ErrWrongKey
	}
	return notTheKey(holdfast.RepositoryRef{KeyURL: url}, err)
}

// stillGiven asks for the key of a customer again: one that was taken away since the
// repository was opened closes it to everybody.
func (o *Opener) stillGiven(ctx context.Context, ref holdfast.RepositoryRef, r *repository.Repository) error {
	if !ref.Revocable {
		return nil
	}
	key, err := o.keyOf(ref)
	if err != nil {
		return err
	}
	slots, err := r.Keys(ctx)
	if err != nil {
		return err
	}
	_, _, err = keyring.Unlock(ctx, key, slots)
	return notTheKey(ref, err)
}

// notTheKey names the key of a key service that is another one now.
func notTheKey(ref holdfast.RepositoryRef, err error) error {
	if ref.KeyURL == "" || !errors.Is(err, keyring.ErrWrongKey) {
		return err
	}
	return holdfast.Errorf(holdfast.WrongKey, "properties.holdfast.keyUrl", "The key %s opens nothing of what was sealed under it: it is another one now.", ref.KeyURL).
		WithHint("Only its owner has the one that was there; give it back under its name.").WithCause(err)
}
