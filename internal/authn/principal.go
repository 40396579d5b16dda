// Package authn says who somebody is: service principals with hashed secrets,
// and the signed tokens that they get for them.
//
// It promises that a secret is kept only as a hash, is compared in constant
// time and never logged; that a token ends with its lifetime, with its
// principal, and with its signing key. It does not say what anybody may do.
package authn

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/google/uuid"

	"holdfast"
	"holdfast/internal/catalog"
)

// Principal is who may sign in.
type Principal struct {
	ID       string `json:"id"`       // object id: role assignments name it
	ClientID string `json:"clientId"` // what it signs in with
	Name     string `json:"name"`
	// SecretHash is the SHA-256 of the secret. A secret is 256 random bits, so
	// a slow hash would add nothing.
	SecretHash string `json:"secretHash"`
	// Subject is who it is to the outside issuer; "" signs in with its secret only.
	Subject string `json:"subject,omitempty"`
}

const principalType = "Holdfast.Identity/servicePrincipals"

func principalID(clientID string) string { return "/servicePrincipals/" + clientID }

// ErrClient is a sign-in with an unknown client or a wrong secret; which of the
// two is not said.
var ErrClient = errors.New("authn: unknown client or wrong secret")

// CreatePrincipal makes a principal. The secret is returned here and nowhere else.
// With a subject, tokens of the outside issuer for it are the principal's, too.
func CreatePrincipal(tx *catalog.Tx, name, subject string) (Principal, string, error) {
	p := Principal{ID: uuid.NewString(), ClientID: uuid.NewString(), Name: name, Subject: subject}
	if subject != "" {
		if err := bind(tx, subject, p.ClientID); err != nil {
			return p, "", err
		}
	}
	secret, err := p.renewSecret(tx)
	return p, secret, err
}

// RotateSecret gives a principal a new secret; the old one ends at once.
func RotateSecret(tx *catalog.Tx, clientID string) (string, error) {
	p, err := FindPrincipal(tx, clientID)
	if err != nil {
		return "", err
	}
	return p.renewSecret(tx)
}

func (p Principal) renewSecret(tx *catalog.Tx) (string, error) {
	random := make([]byte, 32)
	if _, err := rand.Read(random); err != nil {
		return "", err
	}
	secret := base64.RawURLEncoding.EncodeToString(random)
	p.SecretHash = hash(secret)
	_, err := catalog.Write(tx, catalog.Resource{ID: principalID(p.ClientID), Type: principalType, Parent: "/"}, p)
	return secret, err
}

// FindPrincipal returns the principal of a client id, or holdfast.NotFound.
func FindPrincipal(tx *catalog.Tx, clientID string) (Principal, error) {
	p, _, err := catalog.Read[Principal](tx, principalID(clientID))
	if holdfast.KindOf(err) == holdfast.NotFound {
		return p, holdfast.Errorf(holdfast.NotFound, clientID, "The service principal %q was not found.", clientID)
	}
	return p, err
}

// Principals lists all principals.
func Principals(tx *catalog.Tx) ([]Principal, error) {
	rows, err := tx.List(catalog.Query{Type: principalType})
	if err != nil {
		return nil, err
	}
	list := make([]Principal, len(rows))
	for i, r := range rows {
		if list[i], err = catalog.Decode[Principal](r); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// DeletePrincipal removes a principal; its tokens end at once.
func DeletePrincipal(tx *catalog.Tx, clientID string) error {
	p, err := FindPrincipal(tx, clientID)
	if err != nil {
		return err
	}
	if p.Subject != "" {
		if _, err := tx.Delete(subjectID(p.Subject)); err != nil {
			return err
		}
	}
	_, err = tx.Delete(principalID(clientID))
	return err
}

// Authenticate returns the principal whose client id and secret these are, or ErrClient.
func Authenticate(tx *catalog.Tx, clientID, secret string) (Principal, error) {
	p, err := FindPrincipal(tx, clientID)
	if holdfast.KindOf(err) == holdfast.NotFound {
		p.SecretHash, err = strings.Repeat("0", 64), nil // as much work as for a known one
	}
	if err != nil {
		return Principal{}, err
	}
	if subtle.ConstantTimeCompare([]byte(hash(secret)), []byte(p.SecretHash)) != 1 {
		return Principal{}, ErrClient
	}
	return p, nil
}

func hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
