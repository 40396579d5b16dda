package keyring

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"gocloud.dev/gcerrors"
	"gocloud.dev/secrets"
	"gocloud.dev/secrets/localsecrets"

	_ "gocloud.dev/secrets/hashivault" // and those of kms_cloud.go
)

// kmsKey is a key that never leaves its service: that encrypts a random key,
// and the random key seals the ring. (An RSA key of Azure Key Vault encrypts
// less than 200 bytes, which is less than a ring.)
type kmsKey struct {
	url   string // as given: a secret, for base64key
	shown string // what a slot may say of it
}

// cloudSchemes are the key services of kms_cloud.go.
var cloudSchemes = []string{"awskms", "azurekeyvault", "gcpkms"}

// KMS is the Key in a key management service, by its URL of
// gocloud.dev/secrets:
//
//	hashivault://KEY    Vault or OpenBao, transit engine; VAULT_ADDR and VAULT_TOKEN
//	base64key://KEY     no service: 32 bytes in the URL itself, URL-safe base64
//
// and in a binary built with the tag cloudkms, with the credentials that the
// cloud's own tools find:
//
//	awskms://KEY?region=REGION
//	azurekeyvault://VAULT.vault.azure.net/keys/KEY
//	gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/KEY
//
// The service is asked once when a repository is opened.
func KMS(where string) (Key, error) {
	u, err := url.Parse(where)
	if err != nil {
		return nil, errors.New("the key service's URL cannot be read") // err would print it
	}
	known := secrets.DefaultURLMux()
	switch {
	case known.ValidKeeperScheme(u.Scheme):
	case slices.Contains(cloudSchemes, u.Scheme):
		return nil, fmt.Errorf("this binary was built without the key service %s: build it with -tags cloudkms", u.Scheme)
	default:
		return nil, fmt.Errorf("unknown key service %q: there are %s", u.Scheme, strings.Join(known.KeeperSchemes(), ", "))
	}
	if u.Host == "" { // base64key would make a random key that nobody ever has again
		return nil, fmt.Errorf("the key service's URL %s:// names no key", u.Scheme)
	}
	if u.User != nil {
		return nil, errors.New("the key service's URL must not hold credentials")
	}
	k := kmsKey{url: where, shown: u.String()}
	if u.Scheme == localsecrets.Scheme {
		k.shown = u.Scheme + "://"
	}
	return k, nil
}

func (kmsKey) Kind() string { return KindKMS }

// String hides a key that is in the URL.
func (k kmsKey) String() string { return k.shown }

// GoString hides a key that is in the URL.
func (k kmsKey) GoString() string { return k.shown }

func (k kmsKey) Wrap(ctx context.Context, s *Slot, secret []byte) error {
	var kek [32]byte
	if _, err := rand.Read(kek[:]); err != nil {
		return err
	}
	err := k.ask(ctx, func(keeper *secrets.Keeper) (err error) {
		s.Sealed, err = keeper.Encrypt(ctx, kek[:])
		return err
	})
	if err != nil {
		return err
	}
	s.URL = k.shown
	return wrapWith(kek, s, secret)
}

// Unwrap takes for a wrong key only what the service says of the ciphertext;
// all else means that the key could not be tried.
func (k kmsKey) Unwrap(ctx context.Context, s Slot) ([]byte, error) {
	var kek []byte
	err := k.ask(ctx, func(keeper *secrets.Keeper) (err error) {
		kek, err = keeper.Decrypt(ctx, s.Sealed)
		return err
	})
	switch {
	case err == nil && len(kek) == 32:
		return unwrapWith([32]byte(kek), s)
	case err == nil, gcerrors.Code(err) == gcerrors.InvalidArgument, k.local():
		return nil, ErrWrongKey // a key in the URL has no service that could fail
	}
	return nil, err
}

func (k kmsKey) local() bool { return k.shown == localsecrets.Scheme+"://" }

// ask opens the service for one question.
func (k kmsKey) ask(ctx context.Context, question func(*secrets.Keeper) error) error {
	keeper, err := secrets.OpenKeeper(ctx, k.url)
	if err != nil && k.local() {
		return errors.New("the key in the URL base64key://… is not 32 bytes of URL-safe base64") // err may print it
	}
	if err != nil {
		return fmt.Errorf("key service %s: %w", k, err)
	}
	err = question(keeper)
	if e := keeper.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("key service %s: %w", k, err)
	}
	return nil
}
