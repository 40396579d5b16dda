// Package repository is the command `holdfast repository`: the tools that work
// on a repository's URL and key without a server.
//
// It promises that a command that was interrupted leaves only garbage for
// collect, that it never asks for or prints a secret, and that --json prints
// one JSON value on standard output and nothing else. It does not know servers,
// vaults or virtual machines.
package repository

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"holdfast/internal/keyring"
	"holdfast/internal/objstore"
	"holdfast/internal/repository"
)

const long = `Work on a repository directly: no server is needed, only where it is and a key.

URL is a path or a store's URL (holdfast store check --help lists them).
Credentials come from the environment, never from the URL. The key is a
passphrase in HOLDFAST_PASSPHRASE, or in --key-file FILE, or in the key service of
--key-kms URL (or HOLDFAST_KEY_KMS): hashivault://KEY (Vault, OpenBao; VAULT_ADDR and
VAULT_TOKEN), base64key://KEY for 32 bytes in the URL itself, and, in a binary built
with -tags cloudkms, awskms://KEY?region=REGION,
azurekeyvault://VAULT.vault.azure.net/keys/KEY and gcpkms://KEY.

Every command can be interrupted at any time: what it leaves is garbage that
collect frees, and points are visible only when they are whole.`

// Command returns the command repository with its subcommands.
func Command() *cobra.Command {
	c := &cobra.Command{
		Use:     "repository",
		Aliases: []string{"repo"},
		Short:   "Work on a repository without a server",
		Long:    long,
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(initCommand(), importCommand(), exportCommand(), pointsCommand(), infoCommand(), checkCommand(),
		verifyCommand(), collectCommand(), diffCommand(), dumpCommand(), recoverCommand(), copyCommand(),
		deleteCommand(), fenceCommand(), keyCommand(), retentionCommand())
	return c
}

// common are the flags of every subcommand.
type common struct {
	keyFile string
	keyURL  string
	json    bool
	quiet   bool
}

func (f *common) add(c *cobra.Command) {
	c.Flags().StringVar(&f.keyFile, "key-file", "", "`FILE` with the key (default: the passphrase in HOLDFAST_PASSPHRASE)")
	c.Flags().StringVar(&f.keyURL, "key-kms", "", "`URL` of the key in a key service, such as hashivault://KEY")
	c.MarkFlagsMutuallyExclusive("key-file", "key-kms")
	c.Flags().BoolVar(&f.json, "json", false, "print the result as JSON")
	c.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "show no progress")
}

// exitError is an error with an exit code of its own.
type exitError struct {
	error
	code int
}

func (e exitError) Unwrap() error { return e.error }

// ExitCode is the exit code that cli.Exit takes.
func (e exitError) ExitCode() int { return e.code }

// The exit codes of internal/cli that these commands use.
const (
	exitUsage    = 2
	exitNotFound = 3
	exitRefused  = 4
	exitFailed   = 5
)

// explain gives an error its exit code and, where a user can do something about
// it, a hint.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, repository.ErrNoPoint), errors.Is(err, repository.ErrNoDisk), errors.Is(err, repository.ErrNotRepository):
		return exitError{err, exitNotFound}
	case errors.Is(err, keyring.ErrWrongKey):
		return exitError{fmt.Errorf("%w; give the passphrase in HOLDFAST_PASSPHRASE or the key with --key-file or --key-kms", err), exitRefused}
	case errors.Is(err, repository.ErrBusy):
		return exitError{fmt.Errorf("%w; if its process is gone, `holdfast repository fence` ends it", err), exitRefused}
	case errors.Is(err, repository.ErrExists), errors.Is(err, repository.ErrPointExists), errors.Is(err, repository.ErrLastKey),
		errors.Is(err, repository.ErrVersion), errors.Is(err, repository.ErrNoRetention), errors.Is(err, objstore.ErrHeld), errors.Is(err, objstore.ErrPermission):
		return exitError{err, exitRefused}
	case errors.Is(err, repository.ErrDamaged), errors.Is(err, objstore.ErrFull):
		return exitError{err, exitFailed}
	}
	return err
}

// key is the key that the flags and the environment give.
func (f *common) key() (keyring.Key, error) {
	return chosen(f.keyFile, f.keyURL, "HOLDFAST_KEY_KMS", "HOLDFAST_PASSPHRASE",
		"no key: set HOLDFAST_PASSPHRASE or give --key-file or --key-kms")
}

// chosen is the key in a file, in a key service or of a passphrase, the first
// that is given by flag or environment.
func chosen(file, kms, kmsVariable, passVariable, none string) (keyring.Key, error) {
	if file != "" {
		return keyring.File(file)
	}
	if kms == "" {
		kms = os.Getenv(kmsVariable)
	}
	pass := os.Getenv(passVariable)
	switch {
	case kms != "":
		key, err := keyring.KMS(kms)
		if err != nil {
			return nil, exitError{err, exitUsage}
		}
		return key, nil
	case pass != "":
		return keyring.Passphrase(pass), nil
	}
	return nil, exitError{errors.New(none), exitUsage}
}

// options are those of a process of this command line.
func options() repository.Options {
	opt := repository.Options{Owner: processOwner()}
	if dir, err := os.UserCacheDir(); err == nil {
		opt.CacheDir = filepath.Join(dir, "holdfast", "index")
	}
	return opt
}

// open opens the repository at url for the time that use takes.
func (f *common) open(ctx context.Context, url string, use func(*repository.Repository) error) error {
	key, err := f.key()
	if err != nil {
		return err
	}
	return openWith(ctx, url, key, use)
}

func openWith(ctx context.Context, url string, key keyring.Key, use func(*repository.Repository) error) error {
	store, err := openStore(ctx, url, false)
	if err != nil {
		return explain(err)
	}
	r, err := repository.Open(ctx, store, key, options())
	if err != nil {
		return explain(err)
	}
	err = use(r)
	if e := r.Close(); err == nil {
		err = e
	}
	return explain(err)
}

// print writes v as JSON, or calls text.
func (f *common) print(c *cobra.Command, v any, text func(io.Writer)) error {
	if !f.json {
		text(c.OutOrStdout())
		return nil
	}
	e := json.NewEncoder(c.OutOrStdout())
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// facts prints names and values below each other.
func facts(w io.Writer, pairs ...any) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for i := 0; i+1 < len(pairs); i += 2 {
		fmt.Fprintf(t, "%v\t%v\n", pairs[i], pairs[i+1])
	}
	_ = t.Flush() // to a terminal or pipe; cobra's writers report no errors either
}
