package service

import (
	"context"

	"holdfast"
)

// Inventory says what a site has. The answers are live: VMs are not stored.
type Inventory interface {
	// Discover lists what the site has now.
	Discover(ctx context.Context, site holdfast.SiteRef) (holdfast.DiscoverResult, error)
	// VM returns one VM by name, or holdfast.NotFound.
	VM(ctx context.Context, site holdfast.SiteRef, name string) (holdfast.VMFact, error)
	// Check says what a backup of one VM would meet, host first, or
	// holdfast.NotFound. It changes nothing.
	Check(ctx context.Context, site holdfast.SiteRef, name string) ([]holdfast.Finding, error)
	// Guest says what the guest agent of one VM tells of its system, or
	// holdfast.NotFound. It changes nothing in the guest.
	Guest(ctx context.Context, site holdfast.SiteRef, name string) (holdfast.GuestFact, error)
}

// Provisioner makes or finds the repository of a vault.
type Provisioner interface {
	Provision(ctx context.Context, a holdfast.ProvisionArgs) (holdfast.ProvisionResult, error)
	// Usable says why nothing can be written to or read from a repository that is
	// there, as far as can be seen without its store: its key may be gone. nil is
	// that nothing is wrong.
	Usable(ref holdfast.RepositoryRef) error
	// Stored is how much a repository keeps in its store by its own books, bytes.
	// The store is not listed for it.
	Stored(ctx context.Context, ref holdfast.RepositoryRef) (int64, error)
	// TryKey says why a key of a key service cannot be used to seal and to open; nil is
	// that it can.
	TryKey(ctx context.Context, url string) error
}
