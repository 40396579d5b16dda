package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/client"
)

func (a *app) vault() *cobra.Command {
	return noun("vault", "Make and see vaults",
		`A vault holds policies, protected VMs and their recovery points. Its body is an
encrypted repository in a directory or an object store.`,
		a.vaultCreate(), a.vaultList(), a.vaultShow(), a.vaultImmutability(), a.vaultMove(), a.vaultDelete())
}

func (a *app) vaultCreate() *cobra.Command {
	var site, group string
	var body client.Body
	c := &cobra.Command{
		Use: "create NAME", Short: "Make a vault and its repository",
		Long: `Make a vault on a site, with its policies DefaultPolicy and EnhancedPolicy, and
the repository that is its body.

The repository is at --repository: file:///DIR, s3://BUCKET/PREFIX,
azblob://CONTAINER/PREFIX or gs://BUCKET/PREFIX, as the server reaches it. Left
out, it is a directory below the server's data directory. One that has recovery
points already is taken over with them, if its key opens it: their VMs are listed
as protected items whose protection is stopped.

The key is a new one in the server's directory of keys, DATA/keys, or with --key
one that is there (NAME.key). With --key-kms it stays in a key service, which the
server asks when it opens the repository (holdfast repository --help has the forms;
the credentials are in the server's environment). Without it nothing is restored.`,
		Example: `  holdfast vault create safe
  holdfast vault create offsite --site rack7 --resource-group prod --repository s3://backups/offsite
  holdfast vault create safe --repository s3://backups/offsite --key-kms hashivault://backup`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.verb(func(s *session, args []string) error {
			ctx := s.cmd.Context()
			home, err := s.theSite(ctx, site)
			if err != nil {
				return err
			}
			ref := client.VaultRef{Group: group, Name: args[0]}
			if ref.Group == "" {
				ref.Group = home.Properties.ResourceGroup
				s.note("using resource group %s, that of site %s", ref.Group, home.Name)
			}
			v, err := s.client.CreateVault(ctx, ref, home.Name, body)
			if err != nil {
				return err
			}
			return s.showVault(v)
		}),
	}
	c.Flags().StringVar(&site, "site", "", "`SITE` of the vault")
	c.Flags().StringVarP(&group, "resource-group", "g", "", "resource `GROUP` of the vault (default that of the site)")
	c.Flags().StringVar(&body.RepositoryURL, "repository", "", "`URL` of the repository (default: a directory of the server)")
	c.Flags().StringVar(&body.KeyID, "key", "", "`NAME` of the key in the server's directory of keys (default a new one)")
	c.Flags().StringVar(&body.KeyURL, "key-kms", "", "`URL` of the key in a key service, such as hashivault://KEY")
	c.MarkFlagsMutuallyExclusive("key", "key-kms")
	flag(c, "site", a.siteNames())
	return c
}

func (a *app) vaultList() *cobra.Command {
	var group string
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the vaults",
		Example: "  holdfast vault list",
		Args:    cobra.NoArgs,
		RunE: a.verb(func(s *session, _ []string) error {
			vaults, err := s.client.Vaults(s.cmd.Context(), group)
			if err != nil {
				return err
			}
			var rows []resource
			for _, v := range vaults {
				rows = append(rows, resource{v.Raw, []string{v.Name, v.Group, v.Site, v.State, v.RepositoryURL}})
			}
			return s.list("NAME,RESOURCE GROUP,SITE,STATE,REPOSITORY", rows)
		}),
	}
	c.Flags().StringVarP(&group, "resource-group", "g", "", "only the vaults of this `GROUP`")
	return c
}

func (a *app) vaultShow() *cobra.Command {
	return &cobra.Command{
		Use: "show [NAME]", Short: "Show a vault",
		Example:           "  holdfast vault show safe",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: first(a.vaultNames()),
		RunE: a.verb(func(s *session, args []string) error {
			v, err := s.theVault(s.cmd.Context(), strings.Join(args, ""))
			if err != nil {
				return err
			}
			if v, err = s.client.Vault(s.cmd.Context(), v.Ref()); err != nil {
				return err
			}
			return s.showVault(v)
		}),
	}
}

func (s *session) showVault(v client.Vault) error {
	return s.show(v.Raw, []fact{{"name", v.Name}, {"id", v.ID}, {"site", v.Site}, {"state", v.State},
		{"repository", v.RepositoryURL}, {"repository id", v.RepositoryID}, {"key", v.KeyURL}, {"unusable", v.Unusable}})
}

func (a *app) vaultMove() *cobra.Command {
	var group string
	c := &cobra.Command{
		Use: "move NAME --to GROUP", Short: "Move a vault to another resource group",
		Long: `Move a vault with all that is in it to another resource group. You need the same
rights at both places; rights that were given on the vault itself end.`,
		Example:           "  holdfast vault move safe --to prod",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: first(a.vaultNames()),
		RunE: a.verb(func(s *session, args []string) error {
			ctx := s.cmd.Context()
			v, err := s.theVault(ctx, args[0])
			if err != nil {
				return err
			}
			if err := s.client.MoveVault(ctx, v.Ref(), group); err != nil {
				return err
			}
			if v, err = s.client.Vault(ctx, client.VaultRef{Group: group, Name: v.Name}); err != nil {
				return err
			}
			return s.showVault(v)
		}),
	}
	c.Flags().StringVar(&group, "to", "", "resource `GROUP` to move it to (required)")
	must(c.MarkFlagRequired("to"))
	flag(c, "to", a.groupNames())
	return c
}

func (a *app) vaultDelete() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "delete NAME", Aliases: []string{"rm"}, Short: "Delete an empty vault",
		Long: `Delete a vault in which nothing is protected. The server refuses while there are
items in it: end them first with holdfast protect stop VM --delete-data.`,
		Example:           "  holdfast vault delete safe --yes",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: first(a.vaultNames()),
		RunE: a.verb(func(s *session, args []string) error {
			v, err := s.theVault(s.cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := s.confirm(yes, "Deleting the vault "+v.Name); err != nil {
				return err
			}
			if err := s.client.DeleteVault(s.cmd.Context(), v.Ref()); err != nil {
				return err
			}
			s.note("vault %s is deleted", v.Name)
			return nil
		}),
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

// vaultFlag gives c the flag --vault.
func (a *app) vaultFlag(c *cobra.Command, into *string) {
	c.Flags().StringVar(into, "vault", "", "`VAULT` (may be left out where only one can be meant)")
	flag(c, "vault", a.vaultNames())
}
