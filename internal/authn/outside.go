package authn

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/clock"
	"holdfast/internal/transit"
)

// Outside is an issuer of another house whose tokens are accepted (OpenID
// Connect Discovery 1.0). A token counts when it is signed by the issuer's
// published keys, is of this Issuer and Audience, has not ended, and its subject
// is that of a principal. What the principal may is decided here alone.
type Outside struct {
	Issuer   string       // as the tokens name it, https
	Audience string       // one of the token's audiences
	Client   *http.Client // nil is one with a short patience

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier // made at the first token: the server starts without its issuer
}

// issuerPatience bounds one question to the issuer.
const issuerPatience = 10 * time.Second

// Check refuses an issuer that cannot be asked safely.
func (o *Outside) Check() error {
	u, err := url.Parse(o.Issuer)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("the OIDC issuer %q is not an https URL without query", o.Issuer)
	}
	if o.Audience == "" {
		return errors.New("an OIDC issuer needs the audience that its tokens are for")
	}
	return nil
}

// subjectID is where the principal of an outside subject is found. A subject is
// told apart by case, an id is not.
func subjectID(subject string) string {
	sum := sha256.Sum256([]byte(subject))
	return "/subjects/" + hex.EncodeToString(sum[:])
}

const subjectType = "Holdfast.Identity/subjects"

// bind lets a subject of the outside issuer sign in as a principal.
func bind(tx *catalog.Tx, subject, clientID string) error {
	id := subjectID(subject)
	if _, err := tx.Get(id); err == nil {
		return holdfast.Errorf(holdfast.Conflict, "subject", "The subject %q is another principal's.", subject)
	} else if holdfast.KindOf(err) != holdfast.NotFound {
		return err
	}
	_, err := catalog.Write(tx, catalog.Resource{ID: id, Type: subjectType, Parent: "/"}, clientID)
	return err
}

// mine says whether a token claims to be of the outside issuer; nothing of it is
// believed yet.
func (o *Outside) mine(token string) bool {
	var c jwt.RegisteredClaims
	_, _, err := jwt.NewParser().ParseUnverified(token, &c)
	return err == nil && c.Issuer == o.Issuer
}

// subject checks a token and returns whose it is.
func (o *Outside) subject(ctx context.Context, now clock.Clock, token string) (string, error) {
	v, err := o.prepared(now)
	if err != nil {
		return "", holdfast.Errorf(holdfast.Unreachable, o.Issuer, "The token's issuer %s does not answer.", o.Issuer).WithCause(err)
	}
	t, err := v.Verify(o.through(ctx), token)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrToken, err)
	}
	if t.Subject == "" {
		return "", fmt.Errorf("%w: it has no subject", ErrToken)
	}
	return t.Subject, nil
}

// prepared asks the issuer for its keys' place, once. The keys themselves are
// asked for when a token is signed with an unknown one.
func (o *Outside) prepared(now clock.Clock) (*oidc.IDTokenVerifier, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.verifier != nil {
		return o.verifier, nil
	}
	// The provider keeps this context for its later questions: not a request's.
	p, err := oidc.NewProvider(o.through(context.Background()), o.Issuer)
	if err != nil {
		return nil, err
	}
	o.verifier = p.Verifier(&oidc.Config{ClientID: o.Audience, Now: now})
	return o.verifier, nil
}

func (o *Outside) through(ctx context.Context) context.Context {
	c := o.Client
	if c == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.TLSClientConfig = transit.Config()
		c = &http.Client{Timeout: issuerPatience, Transport: t}
	}
	return oidc.ClientContext(ctx, c)
}

// outside returns the principal that an outside token is for, or ErrToken.
func (i *Issuer) outside(ctx context.Context, token string) (p Principal, err error) {
	subject, err := i.Outside.subject(ctx, i.Clock, token)
	if err != nil {
		return p, err
	}
	err = i.Catalog.View(ctx, func(tx *catalog.Tx) error {
		client, _, err := catalog.Read[string](tx, subjectID(subject))
		if err == nil {
			p, err = FindPrincipal(tx, client)
		}
		return err
	})
	if holdfast.KindOf(err) == holdfast.NotFound && err != nil {
		return p, fmt.Errorf("%w: no principal has the subject %q", ErrToken, subject)
	}
	return p, err
}
