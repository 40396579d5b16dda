package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/client"
)

func (a *app) principal() *cobra.Command {
	return noun("principal", "Make and see who may sign in",
		`A principal is who signs in: a person, a script, a monitor. It has a client id and
a secret, and may do what its roles say. What it may do is granted with --role
when it is made, or with az role assignment create.`,
		a.principalCreate(), a.principalList(), a.principalRotate(), a.principalDelete())
}

func (a *app) principalCreate() *cobra.Command {
	var role, scope, file, subject string
	c := &cobra.Command{
		Use: "create NAME", Short: "Make a principal and grant it a role",
		Long: `Make a principal, and grant it a role at a scope: the whole subscription, a
resource group, or the ARM id of a vault or a VM.

Its secret is shown once, now. With --env-file it is written, with all else that
signing in needs, to a new file that only you can read.`,
		Example: `  holdfast principal create operator --role "Backup Operator" --env-file operator.env
  holdfast principal create monitor --role Reader --scope lab`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.verb(func(s *session, args []string) error {
			ctx := s.cmd.Context()
			if scope != "" && role == "" {
				return usagef("--scope goes with --role.")
			}
			granted, err := s.theRole(ctx, role)
			if err != nil {
				return err
			}
			out, err := newSecretFile(file)
			if err != nil {
				return err
			}
			p, err := s.client.CreatePrincipal(ctx, args[0], subject)
			if err != nil {
				return errors.Join(err, out.drop())
			}
			if role != "" {
				if err := s.client.Grant(ctx, s.scopeID(scope), granted, p); err != nil {
					// Half a principal is worse than none.
					return errors.Join(err, s.client.DeletePrincipal(context.WithoutCancel(ctx), p), out.drop())
				}
			}
			return s.showSecret(p, out)
		}),
	}
	c.Flags().StringVar(&role, "role", "", "grant this `ROLE`, such as \"Backup Operator\" or Reader")
	c.Flags().StringVar(&subject, "subject", "", "accept tokens of the server's outside issuer (serve --oidc-issuer) for this `SUBJECT`")
	c.Flags().StringVar(&scope, "scope", "", "`SCOPE` of the role: a resource group or an ARM id (default the subscription)")
	secretFileFlag(c, &file)
	flag(c, "role", a.ask(func(ctx context.Context, s *session, _ []string) ([]string, error) {
		all, err := s.client.Roles(ctx)
		return words(all, err, func(r client.Role) string { return word(r.Name, r.Description) })
	}))
	return c
}

func secretFileFlag(c *cobra.Command, file *string) {
	c.Flags().StringVar(file, "env-file", "", "write what signing in needs to this new `FILE`")
}

// theRole is the role of a name; no name is no role.
func (s *session) theRole(ctx context.Context, name string) (client.Role, error) {
	if name == "" {
		return client.Role{}, nil
	}
	all, err := s.client.Roles(ctx)
	if err != nil {
		return client.Role{}, err
	}
	var names []string
	for _, r := range all {
		if strings.EqualFold(r.Name, name) {
			return r, nil
		}
		names = append(names, r.Name)
	}
	return client.Role{}, notFound("There are "+strings.Join(names, ", ")+".", "There is no role %s.", name)
}

// scopeID is the ARM id of a scope: nothing is the subscription, a word a
// resource group.
func (s *session) scopeID(scope string) string {
	switch {
	case scope == "":
		return s.client.SubscriptionID()
	case strings.HasPrefix(scope, "/"):
		return scope
	}
	return s.client.GroupID(scope)
}

// secretFile is a new file that only its owner reads; a nil one is none.
type secretFile struct{ *os.File }

// newSecretFile makes the file before there is a secret, so that no secret is
// made that cannot be written. It never replaces a file.
func newSecretFile(path string) (*secretFile, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, usagef("--env-file: %v.", err)
	}
	return &secretFile{f}, nil
}

func (f *secretFile) drop() error {
	if f == nil {
		return nil
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// showSecret gives a new secret to its owner: in the file, or else once on
// standard output.
func (s *session) showSecret(p client.Principal, f *secretFile) error {
	facts := []fact{{"name", p.Name}, {"client id", p.Client}, {"id", p.ID}}
	if f == nil {
		if s.output != asJSON {
			s.note("the secret is shown only now:")
		}
		return s.show(p.Raw, append(facts, fact{"secret", p.Secret}))
	}
	_, err := f.WriteString(s.client.Env(p))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("the principal %s is made, and its secret could not be written to %s; give it another: holdfast principal rotate %s: %w",
			p.Name, f.Name(), p.Name, err)
	}
	path, err := filepath.Abs(f.Name())
	if err != nil {
		path = f.Name()
	}
	s.note("sign in with --env %s", shellQuote(path))
	if s.output == asJSON {
		return nil // the resource holds the secret, which is where it was asked to be
	}
	return s.show(p.Raw, facts)
}

func (a *app) principalList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List who may sign in",
		Example: "  holdfast principal list",
		Args:    cobra.NoArgs,
		RunE: a.verb(func(s *session, _ []string) error {
			all, err := s.client.Principals(s.cmd.Context())
			if err != nil {
				return err
			}
			var rows []resource
			for _, p := range all {
				rows = append(rows, resource{p.Raw, []string{p.Name, p.Client, p.ID}})
			}
			return s.list("NAME,CLIENT ID,ID", rows)
		}),
	}
}

// thePrincipal is the one that a name, a client id or an id means.
func (s *session) thePrincipal(ctx context.Context, arg string) (client.Principal, error) {
	all, err := s.client.Principals(ctx)
	if err != nil {
		return client.Principal{}, err
	}
	var found []client.Principal
	for _, p := range all {
		if strings.EqualFold(arg, p.ID) || strings.EqualFold(arg, p.Client) {
			return p, nil
		}
		if strings.EqualFold(arg, p.Name) {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 0:
		return client.Principal{}, notFound("See who there is: holdfast principal list.", "There is no principal %s.", arg)
	case 1:
		return found[0], nil
	}
	return client.Principal{}, usagef("there are %d principals named %s: say the client id.", len(found), arg)
}

func (a *app) principalNames() completer {
	return first(a.ask(func(ctx context.Context, s *session, _ []string) ([]string, error) {
		all, err := s.client.Principals(ctx)
		return words(all, err, func(p client.Principal) string { return word(p.Name, p.Client) })
	}))
}

func (a *app) principalRotate() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "rotate NAME", Short: "Give a principal a new secret",
		Long: `Give a principal a new secret; the old one ends at once. The new one is shown once,
or with --env-file written to a new file that only you can read.`,
		Example:           "  holdfast principal rotate operator --env-file operator.env",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.principalNames(),
		RunE: a.verb(func(s *session, args []string) error {
			p, err := s.thePrincipal(s.cmd.Context(), args[0])
			if err != nil {
				return err
			}
			out, err := newSecretFile(file)
			if err != nil {
				return err
			}
			rotated, err := s.client.RotatePrincipal(s.cmd.Context(), p)
			if err != nil {
				return errors.Join(err, out.drop())
			}
			return s.showSecret(rotated, out)
		}),
	}
	secretFileFlag(c, &file)
	return c
}

func (a *app) principalDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Aliases: []string{"rm"}, Short: "End a principal and its roles",
		Example:           "  holdfast principal delete operator",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.principalNames(),
		RunE: a.verb(func(s *session, args []string) error {
			p, err := s.thePrincipal(s.cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := s.client.DeletePrincipal(s.cmd.Context(), p); err != nil {
				return err
			}
			s.note("principal %s is deleted", p.Name)
			return nil
		}),
	}
}
