package objstore

import (
	"errors"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

func TestValidName(t *testing.T) {
	t.Parallel()
	good := []string{"a", "packs/00/ab-c_d.pack", "..a", "a..b", ".hidden", strings.Repeat("a", MaxSegment),
		strings.Repeat("a/", MaxName/2-1) + "aa"}
	for _, n := range good {
		if err := ValidName(n); err != nil {
			t.Errorf("%q: %v", n, err)
		}
	}
	bad := []string{"", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a.", "A", "ä", "a b", "a\x00", "a\\b", "a+b", "a~",
		strings.Repeat("a", MaxSegment+1), strings.Repeat("a/", MaxName/2) + "a"}
	for _, n := range bad {
		if err := ValidName(n); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v, want ErrInvalid", n, err)
		}
	}
}

func TestValidPrefix(t *testing.T) {
	t.Parallel()
	for _, p := range []string{"", "a", "a/", "a/b", "a.", "a/.", "..", "a/b."} {
		if err := ValidPrefix(p); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	}
	for _, p := range []string{"/", "a//", "../", "../a", "./", "a/../b", "A", "a b"} {
		if err := ValidPrefix(p); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v, want ErrInvalid", p, err)
		}
	}
}

func TestCheckRange(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ size, off, length, want int64 }{
		{10, 0, -1, 10}, {10, 10, -1, 0}, {10, 10, 0, 0}, {10, 3, 4, 4}, {0, 0, -1, 0}, {0, 0, 0, 0},
	} {
		if n, err := CheckRange(c.size, c.off, c.length); err != nil || n != c.want {
			t.Errorf("%+v: %d, %v", c, n, err)
		}
	}
	for _, c := range []struct{ size, off, length int64 }{
		{10, -1, 1}, {10, 11, -1}, {10, 11, 0}, {10, 5, 6}, {10, 5, 1<<63 - 1},
	} {
		if _, err := CheckRange(c.size, c.off, c.length); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v, want ErrInvalid", c, err)
		}
	}
}

// A valid name is a clean relative path below its directory, and each of its
// beginnings is a valid prefix.
func FuzzValidName(f *testing.F) {
	for _, s := range []string{"a", "a/b", "../a", "a/..", "..a/.b", "a.", "a//b", "\x00", "packs/00/0.pack"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if ValidName(name) != nil {
			return
		}
		if path.Clean(name) != name || !filepath.IsLocal(name) || strings.ToLower(name) != name {
			t.Fatalf("%q is not a clean local path", name)
		}
		for i := range len(name) + 1 {
			if err := ValidPrefix(name[:i]); err != nil {
				t.Fatalf("prefix %q of valid %q: %v", name[:i], name, err)
			}
		}
	})
}
