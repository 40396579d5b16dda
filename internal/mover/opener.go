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
	"holdfast/internal/objstore/encrypt"
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
	gone []*repository.Repository // that were open when their place, or key, was lost
	seen map[string]fs.FileInfo   // directories of operational repositories, by URL
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
	undo = func() {}
	if ref.KeyURL == "" || ref.Twice {
		if key, undo, err = o.Key(ref.KeyID); err != nil || ref.KeyURL == "" {
			return key, undo, err
		}
	}
	key, err = serviceKey(ref.KeyURL)
	return key, undo, err
}

func (o *Opener) existingKey(id string) (keyring.Key, error) { return keyring.File(o.keyPath(id)) }

func (o *Opener) keyPath(id string) string { return filepath.Join(o.KeyDir, id+".key") }

// Repository opens a vault's repository with its key, or gives the open one. The key
// of a customer has to be given still.
func (o *Opener) Repository(ctx context.Context, ref holdfast.RepositoryRef) (*repository.Repository, error) {
	o.mu.Lock()
	r, err := o.repository(ctx, ref)
	o.mu.Unlock()
	if err == nil {
		err = o.stillGiven(ctx, ref, r)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
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
	store, err := o.store(ctx, ref, false)
	if err != nil {
		return nil, err
	}
	r, err := repository.Open(ctx, store, key, o.Options(ref))
	if err != nil {
		return nil, notTheKey(ref, err)
	}
	if o.open == nil {
		o.open = map[holdfast.RepositoryRef]*repository.Repository{}
	}
	o.open[ref] = r
	return r, nil
}

// store opens the place of a repository, with its second layer of encryption if it
// has one.
func (o *Opener) store(ctx context.Context, ref holdfast.RepositoryRef, create bool) (objstore.Store, error) {
	store, err := o.OpenStore(ctx, ref.URL, create)
	if err != nil || !ref.Twice {
		return store, err
	}
	own, err := o.existingKey(ref.KeyID)
	if err != nil {
		return nil, o.missing(ref, err)
	}
	layer, err := keyring.LayerKey(own)
	if err != nil {
		return nil, err
	}
	return encrypt.New(store, layer)
}

// keyOf is the key of a repository that is there.
func (o *Opener) keyOf(ref holdfast.RepositoryRef) (keyring.Key, error) {
	if ref.KeyURL != "" {
		return serviceKey(ref.KeyURL)
	}
	key, err := o.existingKey(ref.KeyID)
	return key, o.missing(ref, err)
}

// missing explains that there is no key file.
func (o *Opener) missing(ref holdfast.RepositoryRef, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return holdfast.Errorf(holdfast.WrongKey, ref.KeyID, "The server has no key %q for the repository at %s.", ref.KeyID, ref.URL).
		WithHint(fmt.Sprintf("Put the key file back at %s.", o.keyPath(ref.KeyID))).WithCause(err)
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
