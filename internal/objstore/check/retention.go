package check

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/objstore"
)

func noRetention(ctx context.Context, s objstore.Store) error {
	if s.Features().Retention {
		return nil
	}
	err := s.Put(ctx, "held", body(1, 10), objstore.PutOptions{RetainUntil: time.Now().Add(time.Hour)})
	if err := fails("put with retention", err, objstore.ErrInvalid); err != nil {
		return err
	}
	if _, err := s.Stat(ctx, "held"); !errors.Is(err, objstore.ErrNotExist) {
		return saw(err, "a refused put left something")
	}
	if err := put(ctx, s, "free", nil); err != nil {
		return err
	}
	err = s.Retain(ctx, "free", time.Now().Add(time.Hour))
	return errors.Join(fails("retain", err, objstore.ErrInvalid), s.Delete(ctx, "free"))
}

// lockFor is long enough to look at a locked object and short enough to wait
// for its end.
const lockFor = 5 * time.Second

func retention(ctx context.Context, s objstore.Store) error {
	data := content(1, 1000)
	start := time.Now()
	until := start.Add(lockFor)
	err := s.Put(ctx, "held", body(1, 1000), objstore.PutOptions{RetainUntil: until})
	if err != nil {
		return fmt.Errorf("put with retention: %w", err)
	}
	if err := put(ctx, s, "later", data); err != nil {
		return err
	}
	if err := s.Retain(ctx, "later", until); err != nil {
		return fmt.Errorf("retain: %w", err)
	}
	// Never shortened, whether the store refuses or ignores it.
	_ = s.Retain(ctx, "later", start.Add(time.Second))
	for _, name := range []string{"held", "later"} {
		if err := isHeld(ctx, s, name, data, until); err != nil {
			return err
		}
	}
	err = s.Retain(ctx, "nothing", until)
	if err := fails("retain of nothing", err, objstore.ErrNotExist); err != nil {
		return err
	}
	return freed(ctx, s, until, "held", "later")
}

func isHeld(ctx context.Context, s objstore.Store, name string, data []byte, until time.Time) error {
	info, err := s.Stat(ctx, name)
	if err != nil {
		return err
	}
	if d := info.RetainUntil.Sub(until); d < -time.Millisecond || d > time.Second {
		return fmt.Errorf("stat says that %q is locked until %v, want %v", name, info.RetainUntil, until)
	}
	err = s.Put(ctx, name, body(2, 10), objstore.PutOptions{})
	return errors.Join(
		fails("put over a locked object", err, objstore.ErrExist),
		fails("delete of a locked object", s.Delete(ctx, name), objstore.ErrHeld),
		holds(ctx, s, name, data),
	)
}

// freed waits for the end of the locks and deletes the objects.
func freed(ctx context.Context, s objstore.Store, until time.Time, names ...string) error {
	select {
	case <-time.After(time.Until(until) + 1500*time.Millisecond):
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, name := range names {
		if err := s.Delete(ctx, name); err != nil {
			return fmt.Errorf("delete of %q after the end of its lock: %w", name, err)
		}
	}
	return nil
}
