package resource

import (
	"context"
	"slices"

	"holdfast"
	"holdfast/internal/catalog"
)

// TypeLock is the resource type of a management lock.
const TypeLock = "Microsoft.Authorization/locks"

// The levels of a lock.
const (
	CanNotDelete = "CanNotDelete"
	ReadOnly     = "ReadOnly"
)

// Lock keeps a scope and everything below it from being deleted or changed,
// whatever role its caller has.
type Lock struct {
	Stamp
	Scope string `json:"scope"`
	Name  string `json:"name"`
	Level string `json:"level"`
	Notes string `json:"notes,omitempty"`
}

func lockID(scope, name string) string { return scope + "/providers/" + TypeLock + "/" + name }

// PutLock makes or replaces a lock.
func (s *Service) PutLock(ctx context.Context, l Lock) (out Lock, created bool, err error) {
	if err := CheckName("lock", l.Name); err != nil {
		return l, false, err
	}
	if l.Level != CanNotDelete && l.Level != ReadOnly {
		return l, false, holdfast.Errorf(holdfast.Invalid, "properties.level", "properties.level is %q; it is CanNotDelete or ReadOnly.", l.Level)
	}
	if len(l.Notes) > 512 {
		return l, false, holdfast.Errorf(holdfast.Invalid, "properties.notes", "properties.notes is longer than 512 characters.")
	}
	out, err = Write(ctx, s.Catalog, func(tx *catalog.Tx) (Lock, error) {
		_, err := tx.Get(lockID(l.Scope, l.Name))
		created = err != nil
		r, err := catalog.Write(tx, catalog.Resource{ID: lockID(l.Scope, l.Name), Type: TypeLock, Parent: l.Scope}, l)
		l.Stamp = StampOf(r)
		return l, err
	})
	return out, created, err
}

// Lock returns the lock of a name at a scope.
func (s *Service) Lock(ctx context.Context, scope, name string) (Lock, error) {
	return Read(ctx, s.Catalog, func(tx *catalog.Tx) (Lock, error) {
		r, err := tx.Get(lockID(scope, name))
		if err != nil {
			return Lock{}, err
		}
		return decodeLock(r)
	})
}

// Locks lists the locks at a scope and below it.
func (s *Service) Locks(ctx context.Context, scope string) ([]Lock, error) {
	return Read(ctx, s.Catalog, func(tx *catalog.Tx) ([]Lock, error) {
		return List(tx, catalog.Query{Type: TypeLock, Under: scope}, decodeLock)
	})
}

// DeleteLock removes a lock, and says whether it was there.
func (s *Service) DeleteLock(ctx context.Context, scope, name string) (bool, error) {
	return Write(ctx, s.Catalog, func(tx *catalog.Tx) (bool, error) { return tx.Delete(lockID(scope, name)) })
}

// LockedBy returns the lock that forbids to change or to delete a resource, and
// whether there is one. A deletion is forbidden by a lock on anything that
// would go with the resource, too.
func (s *Service) LockedBy(ctx context.Context, resource string, deletion bool) (Lock, bool, error) {
	type held struct {
		lock Lock
		is   bool
	}
	h, err := Read(ctx, s.Catalog, func(tx *catalog.Tx) (h held, err error) {
		h.lock, h.is, err = LockOn(tx, resource, deletion)
		return h, err
	})
	return h.lock, h.is, err
}

// LockOn is LockedBy in a transaction.
func LockOn(tx *catalog.Tx, resource string, deletion bool) (Lock, bool, error) {
	var all []Lock
	for scope := resource; scope != ""; scope = Above(scope) {
		at, err := List(tx, catalog.Query{Type: TypeLock, Parent: scope}, decodeLock)
		if err != nil {
			return Lock{}, false, err
		}
		all = append(all, at...)
	}
	if deletion {
		below, err := List(tx, catalog.Query{Type: TypeLock, Under: resource}, decodeLock)
		if err != nil {
			return Lock{}, false, err
		}
		all = append(all, below...)
	}
	i := slices.IndexFunc(all, func(l Lock) bool { return deletion || l.Level == ReadOnly })
	if i < 0 {
		return Lock{}, false, nil
	}
	return all[i], true, nil
}

func decodeLock(r catalog.Resource) (Lock, error) {
	l, err := catalog.Decode[Lock](r)
	l.Stamp = StampOf(r)
	return l, err
}
