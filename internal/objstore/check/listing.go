package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"holdfast/internal/objstore"
)

// listNames hold what makes orders differ: '-' and '.' sort before '/', digits
// and letters after it, so that "a/b" comes between "a-b" and "a0".
var listNames = []string{
	"a-b", "a-c/c", "a.b", "a/b", "a/b-c", "a/b.d", "a/b0", "a/c/d", "a/c/e", "a/c0", "a0", "a_b", "aa", "ab/a", "b", "b0/x",
	"b0/y", "zz/zz/zz", "zz/zz/zz0", "zz0",
}

func listOrder(ctx context.Context, s objstore.Store) error {
	for _, i := range []int{7, 3, 12, 0, 19, 5, 1, 16, 9, 14, 2, 18, 11, 4, 13, 8, 6, 15, 17, 10} {
		if err := put(ctx, s, listNames[i], content(uint64(i), i)); err != nil {
			return err
		}
	}
	prefixes := []string{"", "a", "a/", "a/b", "a/c/", "a-", "a.", "a0", "aa", "ab/", "b", "b0", "z", "zz/zz/zz", "no", "zz/zz/zz00", "a/b/c"}
	afters := append([]string{"", "0", "a", "a/", "a/a", "a/bz", "b0/", "zzz"}, listNames...)
	for _, p := range prefixes {
		for _, a := range afters {
			if err := lists(ctx, s, p, a); err != nil {
				return err
			}
		}
	}
	for _, p := range []string{"/", "../", "a//", "A"} {
		_, err := list(ctx, s, p, "")
		if err := fails(fmt.Sprintf("list %q", p), err, objstore.ErrInvalid); err != nil {
			return err
		}
	}
	for _, n := range listNames {
		if err := s.Delete(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func lists(ctx context.Context, s objstore.Store, prefix, after string) error {
	var want []string
	for _, n := range listNames {
		if strings.HasPrefix(n, prefix) && n > after {
			want = append(want, n)
		}
	}
	infos, err := list(ctx, s, prefix, after)
	if err != nil {
		return err
	}
	var got []string
	for _, info := range infos {
		got = append(got, info.Name)
		if i := slices.Index(listNames, info.Name); info.Size != int64(i) {
			return fmt.Errorf("list says %d bytes of %q, want %d", info.Size, info.Name, i)
		}
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("list %q after %q yields %q, want %q", prefix, after, got, want)
	}
	return nil
}

func listStop(ctx context.Context, s objstore.Store) error {
	const n = 30
	for i := range n {
		if err := put(ctx, s, fmt.Sprintf("stop/%02d", i), nil); err != nil {
			return err
		}
	}
	after, seen := "", 0
	for seen < n {
		page := 0
		for info, err := range s.List(ctx, "stop/", after) {
			if err != nil {
				return err
			}
			if want := fmt.Sprintf("stop/%02d", seen); info.Name != want {
				return fmt.Errorf("list after %q yields %q, want %q", after, info.Name, want)
			}
			after, page, seen = info.Name, page+1, seen+1
			if page == 7 {
				break
			}
		}
		if page == 0 {
			return fmt.Errorf("list ends after %d of %d objects", seen, n)
		}
	}
	// Deleting what has been listed doesn't disturb the listing.
	seen = 0
	for info, err := range s.List(ctx, "stop/", "") {
		if err != nil {
			return err
		}
		if err := s.Delete(ctx, info.Name); err != nil {
			return err
		}
		seen++
	}
	if seen != n {
		return fmt.Errorf("list with deletes in it yields %d of %d objects", seen, n)
	}
	return nil
}

func visibility(ctx context.Context, s objstore.Store) error {
	for i := range 20 {
		name, data := fmt.Sprintf("visible/%d", i), content(uint64(i), 100)
		// Asking before must not make the answer stick.
		if _, err := s.Stat(ctx, name); !errors.Is(err, objstore.ErrNotExist) {
			return saw(err, "stat before put")
		}
		if err := put(ctx, s, name, data); err != nil {
			return err
		}
		if err := holds(ctx, s, name, data); err != nil {
			return fmt.Errorf("right after put: %w", err)
		}
		infos, err := list(ctx, s, "visible/", "")
		if err != nil || len(infos) != 1 || infos[0].Name != name || infos[0].Size != 100 {
			return saw(err, "list right after put of %q yields %v", name, infos)
		}
		if err := s.Delete(ctx, name); err != nil {
			return fmt.Errorf("delete %q: %w", name, err)
		}
		_, gerr := s.Get(ctx, name, 0, -1)
		_, serr := s.Stat(ctx, name)
		infos, lerr := list(ctx, s, "visible/", "")
		err = errors.Join(lerr, fails("get right after delete", gerr, objstore.ErrNotExist),
			fails("stat right after delete", serr, objstore.ErrNotExist))
		if err != nil || len(infos) > 0 {
			return saw(err, "right after delete: list yields %v", infos)
		}
	}
	return nil
}
