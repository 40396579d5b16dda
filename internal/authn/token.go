package authn

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"holdfast/internal/catalog"
	"holdfast/internal/clock"
)

// Lifetimes. A key signs for keyLife and is published until the last token that
// it signed has ended.
const (
	TokenLife = time.Hour
	keyLife   = 30 * 24 * time.Hour
)

// ErrToken is a token that is not ours, not whole, too old, or of a principal
// that is gone.
var ErrToken = errors.New("authn: invalid or expired token")

// Issuer signs and checks tokens. It is safe for concurrent use.
type Issuer struct {
	Catalog *catalog.Catalog
	Clock   clock.Clock
	Tenant  string   // GUID
	Outside *Outside // whose tokens are accepted, too; nil is nobody

	mu   sync.Mutex
	keys []signingKey // newest first; read from the catalog when needed
}

// signingKey is kept in the catalog, so that every server checks what another
// one signed.
type signingKey struct {
	ID      string    `json:"id"`
	PKCS8   []byte    `json:"pkcs8"` // ECDSA P-256, private
	Created time.Time `json:"created"`
	key     *ecdsa.PrivateKey
}

const keyType = "Holdfast.Identity/signingKeys"

// claims are what a token says. The names are Azure's (access token claims v2).
type claims struct {
	jwt.RegisteredClaims
	TenantID string `json:"tid"`
	ObjectID string `json:"oid"`
	AppID    string `json:"appid"`
	Name     string `json:"app_displayname,omitempty"`
	Version  string `json:"ver"`
}

// Issue signs a token for a principal.
func (i *Issuer) Issue(ctx context.Context, p Principal, issuer, audience string) (string, error) {
	now := i.Clock()
	key, err := i.signer(ctx, now)
	if err != nil {
		return "", err
	}
	t := jwt.NewWithClaims(jwt.SigningMethodES256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuer, Subject: p.ID, Audience: jwt.ClaimStrings{audience}, ID: uuid.NewString(),
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(TokenLife)),
		},
		TenantID: i.Tenant, ObjectID: p.ID, AppID: p.ClientID, Name: p.Name, Version: "2.0",
	})
	t.Header["kid"] = key.ID
	return t.SignedString(key.key)
}

// Verify returns the principal that a token is for, or ErrToken.
func (i *Issuer) Verify(ctx context.Context, token string) (Principal, error) {
	if i.Outside != nil && i.Outside.mine(token) {
		return i.outside(ctx, token)
	}
	var c claims
	_, err := jwt.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) {
		id, _ := t.Header["kid"].(string)
		return i.publicKey(ctx, id)
	}, jwt.WithValidMethods([]string{"ES256"}), jwt.WithTimeFunc(i.Clock), jwt.WithExpirationRequired())
	if err != nil {
		return Principal{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	if c.TenantID != i.Tenant {
		return Principal{}, fmt.Errorf("%w: of another tenant", ErrToken)
	}
	var p Principal
	err = i.Catalog.View(ctx, func(tx *catalog.Tx) error { p, err = FindPrincipal(tx, c.AppID); return err })
	if err != nil || p.ID != c.ObjectID {
		return Principal{}, fmt.Errorf("%w: its principal is gone", ErrToken)
	}
	return p, nil
}

// signer returns the key that signs now, making one when the newest is too old.
func (i *Issuer) signer(ctx context.Context, now time.Time) (signingKey, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.load(ctx, now); err != nil {
		return signingKey{}, err
	}
	if len(i.keys) > 0 && now.Sub(i.keys[0].Created) < keyLife {
		return i.keys[0], nil
	}
	key, err := newKey(now)
	if err != nil {
		return signingKey{}, err
	}
	err = i.Catalog.Update(ctx, func(tx *catalog.Tx) error {
		_, err := catalog.Write(tx, catalog.Resource{ID: "/signingKeys/" + key.ID, Type: keyType, Parent: "/"}, key)
		return err
	})
	if err == nil {
		i.keys = append([]signingKey{key}, i.keys...)
	}
	return key, err
}

func newKey(now time.Time) (signingKey, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return signingKey{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	return signingKey{ID: uuid.NewString(), PKCS8: der, Created: now, key: k}, err
}

// load reads the keys once, and forgets those whose last token has ended. i.mu is held.
func (i *Issuer) load(ctx context.Context, now time.Time) error {
	if i.keys == nil {
		if err := i.Catalog.View(ctx, i.read); err != nil {
			return err
		}
	}
	for n, k := range i.keys {
		if now.Sub(k.Created) > keyLife+TokenLife {
			i.keys = i.keys[:n]
			break
		}
	}
	return nil
}

func (i *Issuer) read(tx *catalog.Tx) error {
	rows, err := tx.List(catalog.Query{Type: keyType, Newest: true})
	if err != nil {
		return err
	}
	for _, r := range rows {
		k, err := catalog.Decode[signingKey](r)
		if err != nil {
			return err
		}
		private, err := x509.ParsePKCS8PrivateKey(k.PKCS8)
		if err != nil {
			return fmt.Errorf("signing key %s: %w", k.ID, err)
		}
		ec, ok := private.(*ecdsa.PrivateKey)
		if !ok {
			return fmt.Errorf("signing key %s is a %T", k.ID, private)
		}
		k.key = ec
		i.keys = append(i.keys, k)
	}
	return nil
}

func (i *Issuer) publicKey(ctx context.Context, id string) (*ecdsa.PublicKey, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.load(ctx, i.Clock()); err != nil {
		return nil, err
	}
	for _, k := range i.keys {
		if k.ID == id {
			return &k.key.PublicKey, nil
		}
	}
	return nil, errors.New("signed with an unknown key")
}

// JWK is a public key (RFC 7517, RFC 7518 section 6.2).
type JWK struct {
	Type  string `json:"kty"`
	Use   string `json:"use"`
	Alg   string `json:"alg"`
	ID    string `json:"kid"`
	Curve string `json:"crv"`
	X     string `json:"x"`
	Y     string `json:"y"`
}

// JWKS lists the public keys that tokens may be signed with now.
func (i *Issuer) JWKS(ctx context.Context) ([]JWK, error) {
	if _, err := i.signer(ctx, i.Clock()); err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	list := make([]JWK, 0, len(i.keys))
	for _, k := range i.keys {
		point, err := k.key.PublicKey.Bytes() // 4 || X || Y, 32 bytes each (SEC 1, 2.3.3)
		if err != nil {
			return nil, err
		}
		list = append(list, JWK{Type: "EC", Use: "sig", Alg: "ES256", ID: k.ID, Curve: "P-256",
			X: base64.RawURLEncoding.EncodeToString(point[1:33]), Y: base64.RawURLEncoding.EncodeToString(point[33:])})
	}
	return list, nil
}
