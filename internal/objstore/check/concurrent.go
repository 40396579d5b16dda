package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/objstore"
)

func oneWinner(ctx context.Context, s objstore.Store) error {
	for round := range 4 {
		name := fmt.Sprintf("race/%d", round)
		won, err := race(ctx, s, name, 8)
		if err != nil {
			return err
		}
		if len(won) != 1 {
			return fmt.Errorf("of 8 that created %q at once, %d were told that they did", name, len(won))
		}
		if err := holds(ctx, s, name, content(uint64(won[0]), 50_000)); err != nil {
			return fmt.Errorf("the object isn't the winner's: %w", err)
		}
		if err := s.Delete(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// race lets n put their own content under one name, and returns who was told
// that the object is theirs.
func race(ctx context.Context, s objstore.Store, name string, n int) ([]int, error) {
	var mu sync.Mutex
	var won []int
	var g errgroup.Group
	start := make(chan struct{})
	for i := range n {
		g.Go(func() error {
			<-start
			err := s.Put(ctx, name, body(uint64(i), 50_000), objstore.PutOptions{})
			if errors.Is(err, objstore.ErrExist) {
				return nil
			}
			if err == nil {
				mu.Lock()
				won = append(won, i)
				mu.Unlock()
			}
			return err
		})
	}
	close(start)
	err := g.Wait()
	return won, err
}

// wholeOrNothing looks at an object by every verb while it's being put.
func wholeOrNothing(ctx context.Context, s objstore.Store) error {
	const size = 4 << 20
	data := content(9, size)
	done := make(chan error, 1)
	go func() { done <- s.Put(ctx, "whole", bytes.NewReader(data), objstore.PutOptions{}) }()
	for {
		select {
		case err := <-done:
			if err != nil {
				return err
			}
			if err := holds(ctx, s, "whole", data); err != nil {
				return err
			}
			return s.Delete(ctx, "whole")
		default:
		}
		if err := absentOrWhole(ctx, s, "whole", data); err != nil {
			return errors.Join(err, <-done, s.Delete(ctx, "whole"))
		}
	}
}

func absentOrWhole(ctx context.Context, s objstore.Store, name string, data []byte) error {
	got, err := read(ctx, s, name, 0, -1)
	if err == nil && !bytes.Equal(got, data) {
		return fmt.Errorf("get sees %d bytes of %d while the object is being put", len(got), len(data))
	}
	if err != nil && !errors.Is(err, objstore.ErrNotExist) {
		return err
	}
	info, err := s.Stat(ctx, name)
	if err == nil && info.Size != int64(len(data)) {
		return fmt.Errorf("stat sees %d bytes of %d while the object is being put", info.Size, len(data))
	}
	infos, err := list(ctx, s, "", "")
	if err != nil {
		return err
	}
	for _, info := range infos {
		if info.Name != name || info.Size != int64(len(data)) {
			return fmt.Errorf("list yields %q of %d bytes while %q is being put", info.Name, info.Size, name)
		}
	}
	return nil
}

// parallel runs a life of several objects in each of several goroutines.
func parallel(ctx context.Context, s objstore.Store) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range 8 {
		g.Go(func() error {
			for j := range 5 {
				name, data := fmt.Sprintf("parallel/%d/%d", i, j), content(uint64(100*i+j), 10_000*j+i)
				if err := put(ctx, s, name, data); err != nil {
					return err
				}
				if err := holds(ctx, s, name, data); err != nil {
					return err
				}
				if j%2 == 0 {
					continue
				}
				if err := s.Delete(ctx, name); err != nil {
					return err
				}
			}
			prefix := fmt.Sprintf("parallel/%d/", i)
			infos, err := list(ctx, s, prefix, "")
			if err != nil || len(infos) != 3 {
				return saw(err, "list %q yields %v", prefix, infos)
			}
			for _, info := range infos {
				if err := s.Delete(ctx, info.Name); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func cancel(ctx context.Context, s objstore.Store) error {
	data := content(4, 4<<20)
	if err := put(ctx, s, "kept", data); err != nil {
		return err
	}
	dead, stop := context.WithCancel(ctx)
	stop()
	_, gerr := read(dead, s, "kept", 0, -1)
	_, serr := s.Stat(dead, "kept")
	_, lerr := list(dead, s, "", "")
	err := errors.Join(
		fails("put under a cancelled context", s.Put(dead, "never", body(1, 10), objstore.PutOptions{}), context.Canceled),
		fails("get under a cancelled context", gerr, context.Canceled),
		fails("stat under a cancelled context", serr, context.Canceled),
		fails("list under a cancelled context", lerr, context.Canceled),
		fails("delete under a cancelled context", s.Delete(dead, "kept"), context.Canceled),
	)
	if err != nil {
		return err
	}
	if err := cancelPut(ctx, s); err != nil {
		return err
	}
	if err := cancelRead(ctx, s, "kept"); err != nil {
		return err
	}
	if err := holds(ctx, s, "kept", data); err != nil {
		return err
	}
	if _, err := s.Stat(ctx, "never"); !errors.Is(err, objstore.ErrNotExist) {
		return saw(err, "a put under a cancelled context left something")
	}
	return s.Delete(ctx, "kept")
}

// cancelPut cuts a put in the middle of its content, of which no more comes.
func cancelPut(ctx context.Context, s objstore.Store) error {
	cut, stop := context.WithCancel(ctx)
	defer stop()
	data := content(5, 6<<20)
	err := s.Put(cut, "cut", &cuttingBody{bytes.NewReader(data), 1 << 20, stop}, objstore.PutOptions{})
	if err := fails("a put cut in the middle", err, context.Canceled); err != nil {
		return err
	}
	_, err = s.Stat(ctx, "cut")
	return fails("stat of an object whose put was cut", err, objstore.ErrNotExist)
}

// cancelRead cuts a get after its first bytes: the reader must end with an
// error soon, and not as if it had read all.
func cancelRead(ctx context.Context, s objstore.Store, name string) error {
	cut, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	r, err := s.Get(cut, name, 0, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		return fmt.Errorf("first bytes: %w", err)
	}
	stop()
	if n, err := io.Copy(io.Discard, r); err == nil && n != 4<<20-1000 {
		return fmt.Errorf("a cancelled get ends after %d bytes as if that were all", n)
	}
	return nil
}

// cuttingBody calls stop when it's read beyond at, and can't be.
type cuttingBody struct {
	*bytes.Reader
	at   int64
	stop func()
}

func (b *cuttingBody) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.at {
		b.stop()
		return 0, context.Canceled
	}
	return b.Reader.ReadAt(p, off)
}
