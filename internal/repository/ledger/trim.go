package ledger

import (
	"context"
	"errors"
	"slices"

	"holdfast/internal/objstore"
	"holdfast/internal/repository/seal"

	"golang.org/x/sync/errgroup"
)

// trimAtOnce is how many objects are deleted side by side.
const trimAtOnce = 16

// Trim deletes records and states that a reader no longer needs: it leaves the
// two newest whole states and the records since the older of them.
func (l *Log) Trim(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.trim(ctx)
}

func (l *Log) trim(ctx context.Context) error {
	seqs, err := l.list(ctx, statePrefix, 0)
	if err != nil {
		return err
	}
	slices.Reverse(seqs)
	var whole []uint64
	for _, seq := range seqs {
		if _, err := l.openState(ctx, seq); err == nil {
			whole = append(whole, seq)
		} else if !errors.Is(err, seal.ErrDamaged) {
			return err
		}
		if len(whole) == 2 {
			break
		}
	}
	if len(whole) < 2 {
		return nil
	}
	// States first: what is left of older records after a crash is then behind
	// every state, and nobody misses the others.
	for _, prefix := range []string{statePrefix, recordPrefix} {
		if err := l.trimBelow(ctx, prefix, whole[1]); err != nil {
			return err
		}
	}
	return nil
}

// trimBelow deletes what is numbered below keep.
func (l *Log) trimBelow(ctx context.Context, prefix string, keep uint64) error {
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(trimAtOnce)
	for info, err := range l.store.List(ctx, prefix, "") {
		if err != nil {
			_ = g.Wait()
			return err
		}
		n := SeqOf(info.Name)
		if n >= keep || inner.Err() != nil {
			break // the list is in order
		}
		if n == 0 {
			continue
		}
		g.Go(func() error {
			err := l.store.Delete(inner, info.Name)
			if errors.Is(err, objstore.ErrNotExist) || errors.Is(err, objstore.ErrHeld) {
				return nil
			}
			return err
		})
	}
	return g.Wait()
}
