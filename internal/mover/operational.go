package mover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"holdfast"
	"holdfast/internal/keyring"
	"holdfast/internal/objstore"
	"holdfast/internal/repository"
)

// Operational opens the operational repository of a site (docs/design/operational.md).
// It is made, with its key, at first use. One that is lost is made anew, and one
// that cannot be opened any more is set aside before: what it alone held is lost
// or waits there for its rescue, and note says so. One whose storage does not
// answer is an error, and stays as it is. note tells a user what became of an old
// one. The handle is shared; callers do not close it.
func (o *Opener) Operational(ctx context.Context, ref holdfast.RepositoryRef) (r *repository.Repository, note string, err error) {
	o.mu.Lock()
	if ref.Revocable {
		r, note, err = o.customers(ctx, ref)
	} else {
		r, note, err = o.sites(ctx, ref)
	}
	o.mu.Unlock()
	if err == nil {
		err = o.stillGiven(ctx, ref, r)
	}
	if err != nil {
		return nil, note, err
	}
	return r, note, nil
}

// sites is Operational of a repository whose key is the server's. o.mu is held.
func (o *Opener) sites(ctx context.Context, ref holdfast.RepositoryRef) (r *repository.Repository, note string, err error) {
	r, err = o.operational(ctx, ref)
	if err == nil {
		return r, "", nil
	}
	known := o.HasKey(ref) == nil // made before
	if Absent(err) || !known {
		if r, err = o.make(ctx, ref); known && err == nil {
			note = fmt.Sprintf("The operational repository at %s was not there any more, and was made anew.", ref.URL)
		}
	}
	// What is there may be without its key, or a part of it.
	if Beyond(err) || known && holdfast.KindOf(err) == holdfast.Conflict {
		if note, err = o.setAside(ref, err); err == nil {
			r, err = o.make(ctx, ref)
		}
	}
	return r, note, err
}

// customers is Operational of a repository whose key is a customer's. A key that is
// not given is an error, and the repository stays as it is. o.mu is held.
func (o *Opener) customers(ctx context.Context, ref holdfast.RepositoryRef) (r *repository.Repository, note string, err error) {
	if r, err = o.operational(ctx, ref); Absent(err) {
		r, err = o.make(ctx, ref)
	}
	if errors.Is(err, repository.ErrDamaged) || holdfast.KindOf(err) == holdfast.Conflict {
		if note, err = o.setAside(ref, err); err == nil {
			r, err = o.make(ctx, ref)
		}
	}
	return r, note, err
}

// operational is the open repository, if it is still there, or the one that is
// there. o.mu is held.
func (o *Opener) operational(ctx context.Context, ref holdfast.RepositoryRef) (*repository.Repository, error) {
	if r, ok := o.open[ref]; ok {
		if o.inPlace(ref) && r.Present(ctx) == nil {
			return r, nil
		}
		// Opening says why. Who still uses this one keeps it.
		delete(o.open, ref)
		o.gone = append(o.gone, r)
	}
	r, err := o.repository(ctx, ref)
	if err == nil {
		o.inPlace(ref)
	}
	return r, err
}

// inPlace says whether a directory is the one that was seen first: an open store
// goes with its directory when that is renamed. o.mu is held.
func (o *Opener) inPlace(ref holdfast.RepositoryRef) bool {
	u, err := url.Parse(ref.URL)
	if err != nil || u.Scheme != "file" {
		return true
	}
	now, err := os.Stat(u.Path)
	if err != nil {
		return false
	}
	if o.seen == nil {
		o.seen = map[string]fs.FileInfo{}
	}
	was := o.seen[ref.URL]
	o.seen[ref.URL] = now
	return was == nil || os.SameFile(was, now)
}

// Existing is the operational repository of a site if it is there and opens; it
// makes none and sets none aside.
func (o *Opener) Existing(ctx context.Context, ref holdfast.RepositoryRef) (*repository.Repository, error) {
	o.mu.Lock()
	r, err := o.operational(ctx, ref)
	o.mu.Unlock()
	if err == nil {
		err = o.stillGiven(ctx, ref, r)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Absent says of an error that there is no repository.
func Absent(err error) bool {
	return errors.Is(err, repository.ErrNotRepository) || errors.Is(err, objstore.ErrNotExist) || errors.Is(err, fs.ErrNotExist)
}

// Gone says of an operational repository that is not there what to do about it.
func Gone(ref holdfast.RepositoryRef, err error) error {
	if !ref.Quick || !Absent(err) {
		return err
	}
	return holdfast.Errorf(holdfast.Damaged, ref.URL, "The operational repository that has the point is not at %s any more.", ref.URL).
		WithHint("Put its directory back, or mount its file system. If it is lost, its restore points are: delete them and make others; recovery points come back from their vault.").WithCause(err)
}

// Beyond says of an error that the repository will not open again by itself.
func Beyond(err error) bool {
	return errors.Is(err, repository.ErrDamaged) || errors.Is(err, keyring.ErrWrongKey) || holdfast.KindOf(err) == holdfast.WrongKey
}

// SetAside gives an operational repository up that opens, and that no point can be
// added to any more: the next Operational makes it anew.
func (o *Opener) SetAside(ref holdfast.RepositoryRef, why error) (note string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r, ok := o.open[ref]; ok {
		delete(o.open, ref)
		o.gone = append(o.gone, r)
	}
	return o.setAside(ref, why)
}

// AsideSuffix is what the name of a directory that was set aside has, before a
// number.
const AsideSuffix = ".damaged-"

// setAside renames the directory of a repository that cannot be used.
func (o *Opener) setAside(ref holdfast.RepositoryRef, why error) (note string, err error) {
	u, err := url.Parse(ref.URL)
	if err != nil || u.Scheme != "file" {
		return "", holdfast.Errorf(holdfast.Damaged, ref.URL, "The operational repository at %s cannot be used any more: %v.", ref.URL, why).
			WithHint("Repair it, or empty the place: the next backup makes it anew.").WithCause(why)
	}
	aside := ""
	for n := 1; ; n++ {
		aside = fmt.Sprintf("%s%s%d", strings.TrimSuffix(u.Path, "/"), AsideSuffix, n)
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err := os.Rename(u.Path, aside); err != nil {
		return "", err
	}
	if ref.Given { // its file system is there, and nobody else makes the directory
		if err := os.Mkdir(u.Path, 0o700); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("The operational repository at %s could not be used any more (%v). It was set aside as %s, which can be deleted when no restore point in it is missed, and made anew.", ref.URL, why, aside), nil
}

// Make opens the repository at a place with its key, and makes what isn't there.
// A place that holds anything else is refused and left as it was.
func (o *Opener) Make(ctx context.Context, ref holdfast.RepositoryRef) (*repository.Repository, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.make(ctx, ref)
}

// make is Make. o.mu is held.
func (o *Opener) make(ctx context.Context, ref holdfast.RepositoryRef) (r *repository.Repository, err error) {
	key, undo, err := o.newKey(ref)
	if err != nil {
		return nil, err
	}
	tried := false // once a repository may have been made, its key must stay
	defer func() {
		if err != nil && !tried {
			undo()
		}
	}()
	if r, err = o.repository(ctx, ref); !Absent(err) {
		return r, err
	}
	store, err := o.store(ctx, ref, !ref.Given)
	if ref.Given && Absent(err) {
		return nil, holdfast.Errorf(holdfast.Unreachable, ref.URL, "The directory of the operational repository, %s, is not there.", ref.URL).
			WithHint("Mount its file system. If it is lost, make the directory again: the next backup makes the repository in it.").WithCause(err)
	}
	if err != nil {
		return nil, err
	}
	for found, err := range store.List(ctx, "", "") {
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(found.Name, "keys/") {
			continue // of a repository whose making was broken off
		}
		return nil, holdfast.Errorf(holdfast.Conflict, ref.URL, "%s holds something else (%s) and no Holdfast repository.", ref.URL, found.Name).
			WithHint("Give an empty place, or one that holds a repository of this key.")
	}
	tried = true
	made, err := repository.Init(ctx, store, key, o.Options(ref))
	if err != nil {
		return nil, err
	}
	if err := made.Close(); err != nil {
		return nil, err
	}
	return o.repository(ctx, ref)
}
