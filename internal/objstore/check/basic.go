package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"holdfast/internal/objstore"
)

// big is larger than a pack, and than the part size at which SDKs would split
// an upload if they were left to choose.
const big = 20 << 20

func roundtrip(ctx context.Context, s objstore.Store) error {
	for i, size := range []int{0, 1, 4095, 65536, 1<<20 + 1, big} {
		name := fmt.Sprintf("roundtrip/%d", size)
		data := content(uint64(i), size)
		if err := put(ctx, s, name, data); err != nil {
			return err
		}
		if err := holds(ctx, s, name, data); err != nil {
			return err
		}
		if err := s.Delete(ctx, name); err != nil {
			return fmt.Errorf("delete %q: %w", name, err)
		}
	}
	return nil
}

func createOnly(ctx context.Context, s objstore.Store) error {
	first := content(1, 1000)
	if err := put(ctx, s, "one", first); err != nil {
		return err
	}
	for _, again := range [][]byte{first, content(2, 2000), {}} {
		err := s.Put(ctx, "one", bytes.NewReader(again), objstore.PutOptions{})
		if err := fails("a second put of one name", err, objstore.ErrExist); err != nil {
			return err
		}
		if err := holds(ctx, s, "one", first); err != nil {
			return fmt.Errorf("after a refused put: %w", err)
		}
	}
	if err := s.Delete(ctx, "one"); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	// Deleted, the name is free again.
	if err := put(ctx, s, "one", first); err != nil {
		return err
	}
	return s.Delete(ctx, "one")
}

func absent(ctx context.Context, s objstore.Store) error {
	for _, name := range []string{"nothing", "no/such/object"} {
		_, gerr := s.Get(ctx, name, 0, -1)
		_, rerr := s.Get(ctx, name, 5, 10)
		_, serr := s.Stat(ctx, name)
		err := errors.Join(
			fails("get of nothing", gerr, objstore.ErrNotExist),
			fails("ranged get of nothing", rerr, objstore.ErrNotExist),
			fails("stat of nothing", serr, objstore.ErrNotExist),
			fails("delete of nothing", s.Delete(ctx, name), objstore.ErrNotExist),
		)
		if err != nil {
			return err
		}
	}
	infos, err := list(ctx, s, "no/", "")
	if err != nil || len(infos) > 0 {
		return saw(err, "list of nothing yields %d objects", len(infos))
	}
	// The directory of an object isn't one.
	if err := put(ctx, s, "dir/object", nil); err != nil {
		return err
	}
	_, err = s.Stat(ctx, "dir")
	if err := fails("stat of an object's directory", err, objstore.ErrNotExist); err != nil {
		return err
	}
	_, err = s.Get(ctx, "dir", 0, -1)
	if err := fails("get of an object's directory", err, objstore.ErrNotExist); err != nil {
		return err
	}
	if err := fails("delete of an object's directory", s.Delete(ctx, "dir"), objstore.ErrNotExist); err != nil {
		return err
	}
	return s.Delete(ctx, "dir/object")
}

func ranges(ctx context.Context, s objstore.Store) error {
	const size = 200_003
	data := content(3, size)
	if err := put(ctx, s, "ranges", data); err != nil {
		return err
	}
	if err := put(ctx, s, "empty", nil); err != nil {
		return err
	}
	for _, r := range [][2]int64{{0, 1}, {0, size}, {0, -1}, {0, 0}, {1, 1}, {77, 65536}, {size - 1, 1}, {size - 1, -1},
		{size, 0}, {size, -1}, {100_000, -1}, {5, 0}} {
		off, end := r[0], int64(size)
		if r[1] >= 0 {
			end = off + r[1]
		}
		got, err := read(ctx, s, "ranges", off, r[1])
		if err != nil {
			return fmt.Errorf("get %d bytes from %d of %d: %w", r[1], off, size, err)
		}
		if !bytes.Equal(got, data[off:end]) {
			return fmt.Errorf("get %d bytes from %d of %d: wrong bytes (%d of them)", r[1], off, size, len(got))
		}
	}
	for _, r := range [][2]int64{{0, size + 1}, {size, 1}, {size + 1, -1}, {size + 1, 0}, {-1, 5}, {size - 5, 6}, {10, 1<<62 + 1}} {
		_, err := read(ctx, s, "ranges", r[0], r[1])
		if err := fails(fmt.Sprintf("get %d bytes from %d of %d", r[1], r[0], size), err, objstore.ErrInvalid); err != nil {
			return err
		}
	}
	for _, length := range []int64{0, -1} {
		if got, err := read(ctx, s, "empty", 0, length); err != nil || len(got) > 0 {
			return saw(err, "get %d bytes of an empty object: %d bytes", length, len(got))
		}
	}
	_, err := read(ctx, s, "empty", 0, 1)
	if err := fails("get 1 byte of an empty object", err, objstore.ErrInvalid); err != nil {
		return err
	}
	return errors.Join(s.Delete(ctx, "ranges"), s.Delete(ctx, "empty"))
}

func names(ctx context.Context, s objstore.Store) error {
	segment := strings.Repeat("s", objstore.MaxSegment)
	good := []string{"a", "0", "-", "_", ".a", "..a", "...a/b", "a..b", "-a/-b", "_a/_/_", "a.tmp", "index.html", "a-b.c_d/e",
		segment, "deep/" + strings.Repeat("d/", 40) + "x"}
	for i, name := range good {
		data := content(uint64(i), 10+i)
		if err := put(ctx, s, name, data); err != nil {
			return err
		}
		if err := holds(ctx, s, name, data); err != nil {
			return err
		}
	}
	infos, err := list(ctx, s, "", "")
	if err != nil {
		return err
	}
	if len(infos) != len(good) {
		return fmt.Errorf("list yields %d objects of %d", len(infos), len(good))
	}
	for _, name := range good {
		if err := s.Delete(ctx, name); err != nil {
			return fmt.Errorf("delete %q: %w", name, err)
		}
	}
	for _, name := range []string{"", "/", "/a", "a/", "a//b", "../a", "a/../b", ".", "..", "A", "a b", "a\x00b", "ä", "a+b", "a\\b",
		strings.Repeat("a/", 300) + "a", segment + "s", "a."} {
		if err := refusesName(ctx, s, name); err != nil {
			return err
		}
	}
	return nil
}

func refusesName(ctx context.Context, s objstore.Store, name string) error {
	_, gerr := s.Get(ctx, name, 0, -1)
	_, serr := s.Stat(ctx, name)
	return errors.Join(
		fails(fmt.Sprintf("put %q", name), s.Put(ctx, name, body(0, 1), objstore.PutOptions{}), objstore.ErrInvalid),
		fails(fmt.Sprintf("get %q", name), gerr, objstore.ErrInvalid),
		fails(fmt.Sprintf("stat %q", name), serr, objstore.ErrInvalid),
		fails(fmt.Sprintf("delete %q", name), s.Delete(ctx, name), objstore.ErrInvalid),
	)
}

// failedBody puts contents that break off or are shorter than they say.
func failedBody(ctx context.Context, s objstore.Store) error {
	broken := errors.New("broken on purpose")
	for _, b := range []objstore.Body{
		brokenBody{5 << 20, 1 << 20, broken},
		brokenBody{1000, 0, broken},
		brokenBody{1000, 999, io.EOF},
	} {
		if err := s.Put(ctx, "broken", b, objstore.PutOptions{}); err == nil {
			return errors.New("a put whose content can't be read succeeded")
		}
		if _, err := s.Stat(ctx, "broken"); !errors.Is(err, objstore.ErrNotExist) {
			return saw(err, "after a failed put, stat doesn't say that there is nothing")
		}
		infos, err := list(ctx, s, "", "")
		if err != nil || len(infos) > 0 {
			return saw(err, "after a failed put, list yields %d objects", len(infos))
		}
	}
	return nil
}

// brokenBody says it has size bytes, and fails with err at byte at.
type brokenBody struct {
	size, at int64
	err      error
}

func (b brokenBody) Size() int64 { return b.size }

func (b brokenBody) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) <= b.at {
		return len(p), nil
	}
	return int(max(0, b.at-off)), b.err
}
