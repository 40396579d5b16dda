package main

import (
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
	c.AddCommand(catalogBackupCommand())
	return c
}

func catalogBackupCommand() *cobra.Command {
	var data string
	c := &cobra.Command{
		Use: "backup FILE", Short: "Copy the catalog to a new file",
		Long: `Copy the catalog of one moment to a new file and check the copy. The server may
be running.

To go back to a copy: stop the server, put the copy in the place of
DIR/catalog.db, remove DIR/catalog.db-wal and DIR/catalog.db-shm, start the
server. The keys of the vaults (DIR/keys) are not in it: copy them, too.`,
		Example: `  holdfast catalog backup --data /var/lib/holdfast /backup/holdfast-catalog.db`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := catalog.Backup(cmd.Context(), filepath.Join(data, "catalog.db"), args[0]); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "Copied and checked:", args[0])
			return err
		},
	}
	c.Flags().StringVar(&data, "data", "", "`DIR` of the server (required)")
	_ = c.MarkFlagRequired("data")
	_ = c.MarkFlagDirname("data")
	return c
}
