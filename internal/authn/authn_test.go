package authn_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/authn"
	"holdfast/internal/catalog"
)

func setup(t *testing.T) (*catalog.Catalog, *authn.Issuer, *time.Time) {
	t.Helper()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	cat, err := catalog.Open(t.Context(), filepath.Join(t.TempDir(), "catalog.db"), clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cat.Close() })
	return cat, &authn.Issuer{Catalog: cat, Clock: clock, Tenant: "tenant"}, &now
}

func create(t *testing.T, cat *catalog.Catalog) (p authn.Principal, secret string) {
	t.Helper()
	err := cat.Update(t.Context(), func(tx *catalog.Tx) (err error) { p, secret, err = authn.CreatePrincipal(tx, "me", ""); return err })
	if err != nil {
		t.Fatal(err)
	}
	return p, secret
}

func TestSecret(t *testing.T) {
	t.Parallel()
	cat, _, _ := setup(t)
	p, secret := create(t, cat)
	_ = cat.Update(t.Context(), func(tx *catalog.Tx) error {
		if got, err := authn.Authenticate(tx, strings.ToUpper(p.ClientID), secret); err != nil || got.ID != p.ID {
			t.Errorf("right secret: %+v, %v", got, err)
		}
		for _, c := range [][2]string{{p.ClientID, secret + "x"}, {p.ClientID, ""}, {"nobody", secret}, {"", ""}} {
			if _, err := authn.Authenticate(tx, c[0], c[1]); !errors.Is(err, authn.ErrClient) {
				t.Errorf("sign-in with %q: %v", c, err)
			}
		}
		row, _ := tx.Get("/servicePrincipals/" + p.ClientID)
		if strings.Contains(string(row.Body), secret) {
			t.Error("the secret is in the catalog")
		}
		renewed, err := authn.RotateSecret(tx, p.ClientID)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := authn.Authenticate(tx, p.ClientID, secret); !errors.Is(err, authn.ErrClient) {
			t.Errorf("the old secret: %v", err)
		}
		if got, err := authn.Authenticate(tx, p.ClientID, renewed); err != nil || got.ID != p.ID {
			t.Errorf("the new secret: %+v, %v", got, err)
		}
		if list, err := authn.Principals(tx); err != nil || len(list) != 1 {
			t.Errorf("principals: %v, %v", list, err)
		}
		return nil
	})
}

func TestToken(t *testing.T) {
	t.Parallel()
	cat, issuer, now := setup(t)
	p, _ := create(t, cat)
	token, err := issuer.Issue(t.Context(), p, "https://here/adfs", "https://here")
	if err != nil {
		t.Fatal(err)
	}
	// Another server on the same catalog reads the key from there.
	other := &authn.Issuer{Catalog: cat, Clock: issuer.Clock, Tenant: "tenant"}
	if got, err := other.Verify(t.Context(), token); err != nil || got.ID != p.ID {
		t.Errorf("verified elsewhere: %+v, %v", got, err)
	}
	foreign := &authn.Issuer{Catalog: cat, Clock: issuer.Clock, Tenant: "another"}
	head, body, _ := strings.Cut(token, ".")
	for what, verify := range map[string]func() error{
		"another tenant": func() error { _, err := foreign.Verify(t.Context(), token); return err },
		"changed":        func() error { _, err := issuer.Verify(t.Context(), head+".A"+body); return err },
		"empty":          func() error { _, err := issuer.Verify(t.Context(), ""); return err },
		"alg none":       func() error { _, err := issuer.Verify(t.Context(), "eyJhbGciOiJub25lIn0."+body); return err },
		"expired": func() error {
			*now = now.Add(authn.TokenLife + time.Second)
			defer func() { *now = now.Add(-authn.TokenLife - time.Second) }()
			_, err := issuer.Verify(t.Context(), token)
			return err
		},
	} {
		if err := verify(); !errors.Is(err, authn.ErrToken) {
			t.Errorf("%s token: %v", what, err)
		}
	}
	if err := cat.Update(t.Context(), func(tx *catalog.Tx) error { return authn.DeletePrincipal(tx, p.ClientID) }); err != nil {
		t.Fatal(err)
	}
	if _, err := issuer.Verify(t.Context(), token); !errors.Is(err, authn.ErrToken) {
		t.Errorf("token of a deleted principal: %v", err)
	}
	err = cat.Update(t.Context(), func(tx *catalog.Tx) error { return authn.DeletePrincipal(tx, p.ClientID) })
	if holdfast.KindOf(err) != holdfast.NotFound {
		t.Errorf("deleted twice: %v", err)
	}
}

func TestKeysRotate(t *testing.T) {
	t.Parallel()
	cat, issuer, now := setup(t)
	p, _ := create(t, cat)
	*now = now.Add(time.Hour)
	if _, err := issuer.Issue(t.Context(), p, "i", "a"); err != nil {
		t.Fatal(err)
	}
	*now = now.Add(30*24*time.Hour - time.Minute)
	late, err := issuer.Issue(t.Context(), p, "i", "a")
	if err != nil {
		t.Fatal(err)
	}
	*now = now.Add(2 * time.Minute)
	keys, err := issuer.JWKS(t.Context())
	if err != nil || len(keys) != 2 {
		t.Fatalf("keys after a month: %v, %v; want the old one and the new one", keys, err)
	}
	if _, err := issuer.Verify(t.Context(), late); err != nil {
		t.Errorf("a token of the old key: %v", err)
	}
	*now = now.Add(2 * time.Hour)
	if keys, err = issuer.JWKS(t.Context()); err != nil || len(keys) != 1 {
		t.Errorf("keys after the last old token: %v, %v", keys, err)
	}
}

func FuzzVerify(f *testing.F) {
	f.Add("eyJhbGciOiJFUzI1NiJ9.e30.AA")
	f.Add("..")
	cat, err := catalog.Open(f.Context(), filepath.Join(f.TempDir(), "catalog.db"), time.Now)
	if err != nil {
		f.Fatal(err)
	}
	defer cat.Close()
	issuer := &authn.Issuer{Catalog: cat, Clock: time.Now, Tenant: "t"}
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := issuer.Verify(t.Context(), token); !errors.Is(err, authn.ErrToken) {
			t.Errorf("%q: %v", token, err)
		}
	})
}
