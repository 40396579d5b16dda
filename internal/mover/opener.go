package mover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"holdfast"
	"holdfast/internal/keyring"
	"holdfast/internal/objstore"
	"holdfast/internal/repository"
)

// Opener opens stores, keys and repositories for the movers of one server. An
// open repository is kept, since opening derives keys and reads its log.
//
// Keys are files of one directory, readable by the server's user only, one for
// each vault, or stay with their owner in a key service, which is asked whenever a
// repository is opened. Whoever loses them loses the vaults: `holdfast repository
// key add` gives a repository a second key to keep elsewhere.
type Opener struct {
	KeyDir   string // mode 0700, made if need be
	CacheDir string // for index segments; may be lost
	// Owner tells this server's sessions in a repository from others'; a dead
	// run's are given up at once, since one server at a time holds the data
	// directory.
	Owner repository.Owner
	// OpenStore opens the place that a URL names. Only with create is a
	// directory made that is not there: a vault whose file system is not mounted
	// must not find an empty one instead.
	OpenStore func(ctx context.Context, url string, create bool) (objstore.Store, error)

	mu   sync.Mutex
	open map[holdfast.RepositoryRef]*repository.Repository
	gone []*repository.Repository // that were open when their place was lost
}

// Key gives the key of that name and makes a new random one if there is none;
// undo removes a key that was made, for when nothing came of it.
func (o *Opener) Key(id string) (key keyring.Key, undo func(), err error) {
	if err := os.MkdirAll(o.KeyDir, 0o700); err != nil {
		return nil, nil, err
	}
	key, err = o.existingKey(id)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, func() {}, err
	}
	key, err = keyring.GenerateFile(o.keyPath(id))
	return key, func() { os.Remove(o.keyPath(id)) }, err
}

// newKey is the key with which the repository of a ref is made.
func (o *Opener) newKey(ref holdfast.RepositoryRef) (key keyring.Key, undo func(), err error) {
	if ref.KeyURL == "" {
		return o.Key(ref.KeyID)
	}
	key, err = serviceKey(ref.KeyURL)
	return key, func() {}, err
}

func (o *Opener) existingKey(id string) (keyring.Key, error) { return keyring.File(o.keyPath(id)) }

func (o *Opener) keyPath(id string) string { return filepath.Join(o.KeyDir, id+".key") }

// Repository opens a vault's repository with its key, or gives the open one.
func (o *Opener) Repository(ctx context.Context, ref holdfast.RepositoryRef) (*repository.Repository, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.repository(ctx, ref)
}

// repository is Repository. o.mu is held.
func (o *Opener) repository(ctx context.Context, ref holdfast.RepositoryRef) (*repository.Repository, error) {
	if r, ok := o.open[ref]; ok {
		return r, nil
	}
	key, err := o.keyOf(ref)
	if err != nil {
		return nil, err
	}
	store, err := o.OpenStore(ctx, ref.URL, false)
	if err != nil {
		return nil, err
	}
	r, err := repository.Open(ctx, store, key, o.Options(ref))
	if err != nil {
		return nil, err
	}
	if o.open == nil {
		o.open = map[holdfast.RepositoryRef]*repository.Repository{}
	}
	o.open[ref] = r
	return r, nil
}

// keyOf is the key of a repository that is there.
func (o *Opener) keyOf(ref holdfast.RepositoryRef) (keyring.Key, error) {
	if ref.KeyURL != "" {
		return serviceKey(ref.KeyURL)
	}
	key, err := o.existingKey(ref.KeyID)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, holdfast.Errorf(holdfast.WrongKey, ref.KeyID, "The server has no key %q for the repository at %s.", ref.KeyID, ref.URL).
			WithHint(fmt.Sprintf("Put the key file back at %s.", o.keyPath(ref.KeyID))).WithCause(err)
	}
	return key, err
}

// HasKey is nil when the key of a repository is there and can be read. It is
// looked for even if the repository is open: the next start needs it.
func (o *Opener) HasKey(ref holdfast.RepositoryRef) error {
	_, err := o.keyOf(ref)
	return err
}

// Options are those with which this server uses a repository.
func (o *Opener) Options(ref holdfast.RepositoryRef) repository.Options {
	return repository.Options{Owner: o.Owner, CacheDir: filepath.Join(o.CacheDir, ref.KeyID), Quick: ref.Quick}
}

// Close gives back what open repositories hold.
func (o *Opener) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var failed error
	for _, r := range o.open {
		failed = errors.Join(failed, r.Close())
	}
	for _, r := range o.gone {
		failed = errors.Join(failed, r.Close())
	}
	o.open, o.gone = nil, nil
	return failed
}
