package mover

import (
	"context"
	"errors"
	"strings"

	"holdfast"
	"holdfast/internal/keyring"
)

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
	return k.explain(k.Key.Wrap(ctx, s, secret))
}

// Unwrap says of a service that does not answer what the key was for.
func (k inService) Unwrap(ctx context.Context, s keyring.Slot) ([]byte, error) {
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
