package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"holdfast/internal/authn"
	"holdfast/internal/authz"
	"holdfast/internal/catalog"
	"holdfast/internal/resource"
)

// admin makes the first principal, Owner of the first subscription, and writes
// its secret to admin.env, the one place that has it. Later starts only renew
// the endpoint there. A file that its owner removed is not made again.
func (s *Server) admin(ctx context.Context, sub resource.Subscription) error {
	return s.catalog.Update(ctx, func(tx *catalog.Tx) error {
		all, err := authn.Principals(tx)
		if err != nil {
			return err
		}
		if len(all) > 0 {
			return s.renewEndpoint()
		}
		p, secret, err := authn.CreatePrincipal(tx, "admin", "")
		if err != nil {
			return err
		}
		scope := "/subscriptions/" + sub.SubscriptionID
		a := authz.Assignment{ID: authz.AssignmentID(scope, uuid.NewString()), Scope: scope, RoleID: authz.Owner, PrincipalID: p.ID}
		if err := authz.Assign(tx, a); err != nil {
			return err
		}
		// Inside the transaction: a crash between the two leaves a file that the
		// next start replaces, never a principal whose secret nobody has.
		return writePrivate(s.AdminEnv(), strings.Join([]string{
			"HOLDFAST_ENDPOINT=" + s.Endpoint(),
			"HOLDFAST_TENANT_ID=" + sub.TenantID,
			"HOLDFAST_CLIENT_ID=" + p.ClientID,
			"HOLDFAST_CLIENT_SECRET=" + secret,
			"HOLDFAST_CA_FILE=" + quote(s.trusted()),
			"HOLDFAST_SUBSCRIPTION_ID=" + sub.SubscriptionID,
		}, "\n")+"\n")
	})
}

// renewEndpoint corrects where the server is: its address or its directory may
// have changed.
func (s *Server) renewEndpoint() error {
	old, err := os.ReadFile(s.AdminEnv())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	now := map[string]string{"HOLDFAST_ENDPOINT": s.Endpoint(), "HOLDFAST_CA_FILE": quote(s.trusted())}
	lines := strings.Split(string(old), "\n")
	for i, line := range lines {
		if name, _, ok := strings.Cut(line, "="); ok && now[name] != "" {
			lines[i] = name + "=" + now[name]
		}
	}
	text := strings.Join(lines, "\n")
	if text == string(old) {
		return nil
	}
	return writePrivate(s.AdminEnv(), text)
}

// trusted is the file that vouches for what the server shows at its endpoint.
func (s *Server) trusted() string {
	if u, err := url.Parse(s.Endpoint()); err == nil && s.tls.given.covers(u.Hostname()) {
		return s.tls.given.certFile
	}
	return s.tls.caFile()
}

// quote makes a value safe for a shell that reads the file.
func quote(s string) string {
	if strings.ContainsAny(s, " \t'\"\\$`#;&|<>()*?[]~") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

// writePrivate writes a file that only its owner reads, whole or not at all.
func writePrivate(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name()) // after the rename there is nothing of that name
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
