package repository

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/keyring"
	"holdfast/internal/repository"
)

func deleteCommand() *cobra.Command {
	var f common
	var repo string
	c := &cobra.Command{
		Use:   "delete POINT... --repo URL",
		Short: "Delete points; collect frees what only they needed",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return f.open(c.Context(), repo, func(r *repository.Repository) error { return r.DeletePoints(c.Context(), args...) })
		},
	}
	f.add(c)
	c.Flags().StringVar(&repo, "repo", "", "`URL` of the repository")
	_ = c.MarkFlagRequired("repo")
	return c
}

func fenceCommand() *cobra.Command {
	var f common
	c := &cobra.Command{
		Use:   "fence URL SESSION",
		Short: "End the session of a process that is gone",
		Long:  "End a session that info lists. If its process lives after all, its work is lost, and nothing else.",
		Args:  cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return f.open(c.Context(), args[0], func(r *repository.Repository) error { return r.Fence(c.Context(), args[1]) })
		},
	}
	f.add(c)
	return c
}

func copyCommand() *cobra.Command {
	var f common
	var from, to string
	var target common
	c := &cobra.Command{
		Use:   "copy POINT... --from URL --to URL",
		Short: "Copy points to another repository",
		Long: `Copy points to another repository. What that has already is not stored again.
Its key is --to-key-file, --to-key-kms (or HOLDFAST_TO_KEY_KMS), or the passphrase in
HOLDFAST_TO_PASSPHRASE, or else the same as of --from.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			key, err := target.targetKey(&f)
			if err != nil {
				return err
			}
			return f.open(c.Context(), from, func(src *repository.Repository) error {
				return openWith(c.Context(), to, key, func(dst *repository.Repository) error { return f.copyAll(c, src, dst, args) })
			})
		},
	}
	f.add(c)
	c.Flags().StringVar(&from, "from", "", "`URL` to copy from")
	c.Flags().StringVar(&to, "to", "", "`URL` to copy to")
	c.Flags().StringVar(&target.keyFile, "to-key-file", "", "`FILE` with the key of --to")
	c.Flags().StringVar(&target.keyURL, "to-key-kms", "", "`URL` of the key of --to in a key service")
	c.MarkFlagsMutuallyExclusive("to-key-file", "to-key-kms")
	_ = c.MarkFlagRequired("from")
	_ = c.MarkFlagRequired("to")
	return c
}

// targetKey is the key of the repository to copy to; from holds those of the
// other one.
func (f *common) targetKey(from *common) (keyring.Key, error) {
	key, err := chosen(f.keyFile, f.keyURL, "HOLDFAST_TO_KEY_KMS", "HOLDFAST_TO_PASSPHRASE", "")
	if err == nil || f.keyFile != "" || f.keyURL != "" || os.Getenv("HOLDFAST_TO_KEY_KMS") != "" {
		return key, err
	}
	return from.key()
}

func (f *common) copyAll(c *cobra.Command, src, dst *repository.Repository, ids []string) error {
	copied := []repository.Point{}
	for _, id := range ids {
		m := f.newMeter(c, "copy "+id)
		p, err := repository.Copy(c.Context(), src, dst, id, repository.CopyOptions{Progress: m.bytes})
		m.end()
		if errors.Is(err, repository.ErrPointExists) { // copied by a run before
			continue
		}
		if err != nil {
			return err
		}
		copied = append(copied, p)
	}
	return f.print(c, copied, func(w io.Writer) { pointTable(w, copied) })
}

func keyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "key",
		Short: "List, add and remove the keys of a repository",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(keyListCommand(), keyAddCommand("add", "Add a key", false), keyAddCommand("rotate", "Put a new key in the place of the present one", true), keyRemoveCommand())
	return c
}

func keyListCommand() *cobra.Command {
	var f common
	c := &cobra.Command{
		Use:   "list URL",
		Short: "List the keys",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return f.open(c.Context(), args[0], func(r *repository.Repository) error {
				slots, err := r.Keys(c.Context())
				if err != nil {
					return err
				}
				for i := range slots {
					slots[i].Wrapped, slots[i].Sealed = nil, nil
				}
				return f.print(c, slots, func(w io.Writer) {
					for _, s := range slots {
						facts(w, s.ID, strings.TrimSpace(fmt.Sprintf("%-10s  %s  %s  %s", s.Kind, s.Created.Local().Format(time.DateTime), s.Label, s.URL)))
					}
				})
			})
		},
	}
	f.add(c)
	return c
}

func keyAddCommand(use, short string, rotate bool) *cobra.Command {
	var f common
	var next common
	var label string
	c := &cobra.Command{
		Use:   use + " URL",
		Short: short,
		Long: short + `: --new-key-file (made if it isn't there), --new-key-kms (or
HOLDFAST_NEW_KEY_KMS), or the passphrase in HOLDFAST_NEW_PASSPHRASE. No data is
rewritten.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			key, err := next.newKey()
			if err != nil {
				return err
			}
			return f.open(c.Context(), args[0], func(r *repository.Repository) error {
				add := r.AddKey
				if rotate {
					add = r.RotateKey
				}
				slot, err := add(c.Context(), key, label)
				if err != nil {
					return err
				}
				slot.Wrapped, slot.Sealed = nil, nil
				return f.print(c, slot, func(w io.Writer) { fmt.Fprintf(w, "key %s opens the repository\n", slot.ID) })
			})
		},
	}
	f.add(c)
	c.Flags().StringVar(&next.keyFile, "new-key-file", "", "`FILE` with the new key")
	c.Flags().StringVar(&next.keyURL, "new-key-kms", "", "`URL` of the new key in a key service")
	c.MarkFlagsMutuallyExclusive("new-key-file", "new-key-kms")
	c.Flags().StringVar(&label, "label", "", "`TEXT` to know the key by")
	return c
}

func (f *common) newKey() (keyring.Key, error) {
	if err := f.makeKeyFile(); err != nil {
		return nil, err
	}
	return chosen(f.keyFile, f.keyURL, "HOLDFAST_NEW_KEY_KMS", "HOLDFAST_NEW_PASSPHRASE",
		"no new key: set HOLDFAST_NEW_PASSPHRASE or give --new-key-file or --new-key-kms")
}

func generateKeyFile(path string) error {
	_, err := keyring.GenerateFile(path)
	return err
}

func keyRemoveCommand() *cobra.Command {
	var f common
	c := &cobra.Command{
		Use:   "remove URL KEY",
		Short: "Remove a key that list names",
		Args:  cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return f.open(c.Context(), args[0], func(r *repository.Repository) error { return r.RemoveKey(c.Context(), args[1]) })
		},
	}
	f.add(c)
	return c
}
