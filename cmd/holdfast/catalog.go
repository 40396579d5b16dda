package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"holdfast/internal/catalog"
)

// catalogCommand works on the catalog of a server, which may be running.
func catalogCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "catalog", Short: "Copy the server's catalog",
		Long: `Copy what a server knows: sites, vaults, policies, items, points, jobs, who may
what and who did what. It is not needed to restore (a vault and its key are),
but to go on as before.`,
	}
	c.AddCommand(catalogBackupCommand(), catalogLoadCommand())
	return c
}

// catalogPlace is where a catalog is: in a data directory, or at a URL.
type catalogPlace struct{ data, url string }

func (p *catalogPlace) flags(c *cobra.Command) {
	c.Flags().StringVar(&p.data, "data", "", "`DIR` of the server")
	c.Flags().StringVar(&p.url, "catalog", "", "`URL` of a catalog in PostgreSQL, as serve has it")
	c.MarkFlagsOneRequired("data", "catalog")
	c.MarkFlagsMutuallyExclusive("data", "catalog")
	_ = c.MarkFlagDirname("data")
}

func (p *catalogPlace) place() (string, error) {
	if p.url == "" {
		return filepath.Join(p.data, "catalog.db"), nil
	}
	if !catalog.IsURL(p.url) {
		return "", errors.New("--catalog is not a postgres:// URL")
	}
	return p.url, nil
}

func catalogBackupCommand() *cobra.Command {
	var p catalogPlace
	c := &cobra.Command{
		Use: "backup FILE", Short: "Copy the catalog to a new file",
		Long: `Copy the catalog of one moment to a new file (SQLite) and check the copy. The
server may be running.

To go back to a copy: stop the server and load the copy into an empty catalog
(holdfast catalog load), or put it in the place of DIR/catalog.db, remove
DIR/catalog.db-wal and DIR/catalog.db-shm, and start the server. The keys of the
vaults (DIR/keys) are not in it: copy them, too.`,
		Example: `  holdfast catalog backup --data /var/lib/holdfast /backup/holdfast-catalog.db
  holdfast catalog backup --catalog postgres://holdfast@db/holdfast /backup/holdfast-catalog.db`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			place, err := p.place()
			if err != nil {
				return err
			}
			if err := catalog.Backup(cmd.Context(), place, args[0]); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "Copied and checked:", args[0])
			return err
		},
	}
	p.flags(c)
	return c
}

func catalogLoadCommand() *cobra.Command {
	var p catalogPlace
	c := &cobra.Command{
		Use: "load FILE", Short: "Fill an empty catalog from a copy",
		Long: `Fill an empty catalog from a copy that catalog backup made: to go back to it, or
from SQLite to PostgreSQL. The server must be stopped. A catalog that has
anything in it is refused.`,
		Example: `  holdfast catalog load --catalog postgres://holdfast@db/holdfast /backup/holdfast-catalog.db`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			place, err := p.place()
			if err != nil {
				return err
			}
			if err := catalog.Load(cmd.Context(), args[0], place); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "Loaded:", args[0])
			return err
		},
	}
	p.flags(c)
	return c
}
