package repository_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/disk"
	"holdfast/internal/keyring"
	"holdfast/internal/objstore"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/repository"
)

var update = flag.Bool("update", false, "write the golden findings anew, and the golden repository of this format if there is none")

// goldenSize is the length of the golden repository's only disk: two levels, a
// cut last chunk.
const goldenSize = 66*chunkSize + 1000

// goldenKeys open the golden repository, one of each kind.
func goldenKeys(t testing.TB) []keyring.Key {
	return []keyring.Key{testKey, keyring.WeakPassphrase("golden"), kmsKey(t, "base64key://smGbjm71Nxd1Ig5FS0wj9SlbzAIrnolCz9bQQ6uAhl4=")}
}

// goldenDisk is the content of a golden point, made by a rule that anyone can
// follow: chunk c of point n is SHA-256("n/c/i") for i = 0, 1, … in the first
// 512 bytes and zeros behind, for the chunks that goldenChunk names.
func goldenDisk(n int) []byte {
	data := make([]byte, goldenSize)
	for c := range goldenSize / chunkSize {
		made := goldenChunk(n, c)
		if made < 0 {
			continue
		}
		for i := range 16 {
			sum := sha256.Sum256(fmt.Appendf(nil, "%d/%d/%d", made, c, i))
			copy(data[c*chunkSize+32*i:], sum[:])
		}
	}
	return data
}

// goldenChunk is the point at which chunk c of point n was last written; -1 for
// never.
func goldenChunk(n, c int) int {
	if c >= 40 && c != 65 {
		return -1
	}
	for ; n > 0; n-- {
		if c%7 == n {
			return n
		}
	}
	return 0
}

// makeGolden makes the golden repository of the present format: three points,
// of which each is a change of the one before, one deleted, one session broken
// off, three keys, a folded state, and two segments and packs for each point.
func makeGolden(t *testing.T) *mem.Store {
	store := mem.New(mem.Options{})
	opt := repository.Options{Workers: 1, Quick: true, Clock: func() time.Time { return time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC) }}
	r, err := repository.Init(t.Context(), store, testKey, opt)
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range goldenKeys(t)[1:] {
		if _, err := r.AddKey(t.Context(), k, fmt.Sprint("key ", i+1)); err != nil {
			t.Fatal(err)
		}
	}
	var base *repository.Disk
	for n := range 3 {
		data := goldenDisk(n)
		src := &memDisk{data: data, kinds: zeroKinds(data)}
		if n > 0 {
			for c := range src.kinds {
				if goldenChunk(n, c) != n {
					src.kinds[c] = disk.Same
				}
			}
		}
		p := mustBackup(t, r, fmt.Sprintf("p%d", n), "s", base, src)
		base = p.Disk("vda")
	}
	mustBackup(t, r, "deleted", "other", nil, &memDisk{data: bytes.Repeat([]byte("deleted "), 10_000)})
	if err := r.DeletePoint(t.Context(), "deleted"); err != nil {
		t.Fatal(err)
	}
	foldState(t, r, store)
	w, err := r.Begin(t.Context(), repository.PointSpec{ID: "given up", Series: "s"})
	if err != nil {
		t.Fatal(err)
	}
	w.Abort()
	if _, err := r.Begin(t.Context(), repository.PointSpec{ID: "broken off", Series: "other"}); err != nil {
		t.Fatal(err)
	}
	return store
}

// foldState stores the present state, which a repair of the ledger does whatever
// its number.
func foldState(t *testing.T, r *repository.Repository, store *mem.Store) {
	t.Helper()
	const record = "ledger/0000000000000002"
	whole := fetch(t, store, record)
	replace(t, store, record, whole[:10])
	if _, err := r.Check(t.Context(), repository.CheckOptions{Repair: true}); err != nil {
		t.Fatal(err)
	}
	replace(t, store, record, whole)
}

// golden reads the golden repository of a format.
func golden(t testing.TB, format int) *mem.Store {
	t.Helper()
	z, err := zip.OpenReader(filepath.Join("testdata", fmt.Sprintf("format-%d.zip", format)))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	store := mem.New(mem.Options{})
	for _, f := range z.File {
		rc, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(rc)
		if err == nil {
			err = store.Put(t.Context(), f.Name, bytes.NewReader(b), objstore.PutOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return store
}

func writeGolden(t *testing.T, path string, store *mem.Store) {
	t.Helper()
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	for info, err := range store.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		w, err := z.Create(info.Name)
		if err == nil {
			_, err = w.Write(fetch(t, store, info.Name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Every golden repository opens with each of its keys, restores each of its
// points bit for bit, is whole, and takes new work.
func TestGolden(t *testing.T) {
	t.Parallel()
	if path := filepath.Join("testdata", fmt.Sprintf("format-%d.zip", repository.Format)); *update {
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			writeGolden(t, path, makeGolden(t))
		}
	}
	for format := repository.MinFormat; format <= repository.Format; format++ {
		for _, key := range goldenKeys(t) {
			store := golden(t, format)
			r, err := repository.Open(t.Context(), store, key, repository.Options{})
			if err != nil {
				t.Fatalf("format %d with a %s: %v", format, key.Kind(), err)
			}
			for n := range 3 {
				p, err := r.Point(t.Context(), fmt.Sprintf("p%d", n))
				if err != nil || string(p.Attributes) != fmt.Sprintf(`{"xml":"p%d"}`, n) {
					t.Fatalf("format %d: point %d: %+v, %v", format, n, p, err)
				}
				mustRestore(t, r, p, goldenDisk(n))
			}
			if rep, err := r.Check(t.Context(), repository.CheckOptions{}); err != nil || len(rep.Findings) > 0 || rep.Points != 3 {
				t.Errorf("format %d: check: %+v, %v", format, rep, err)
			}
			if _, err := r.Verify(t.Context(), repository.VerifyOptions{}); err != nil {
				t.Errorf("format %d: %v", format, err)
			}
			data := goldenDisk(0)
			p := mustBackup(t, r, "new", "s", nil, &memDisk{data: data})
			if p.Disks[0].Stats.New != 0 {
				t.Errorf("format %d: %d bytes of a known disk are new", format, p.Disks[0].Stats.New)
			}
			mustRestore(t, r, p, data)
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := repository.Open(t.Context(), golden(t, format), keyring.WeakPassphrase("Golden"), repository.Options{}); !errors.Is(err, keyring.ErrWrongKey) {
			t.Errorf("format %d: a wrong key: %v", format, err)
		}
	}
}

// damageOf makes of a whole artifact a damaged one; nil is the artifact's loss.
var damageOf = []struct {
	name string
	make func([]byte) []byte
}{
	{"missing", func([]byte) []byte { return nil }},
	{"empty", func([]byte) []byte { return []byte{} }},
	{"cut in half", func(b []byte) []byte { return b[:len(b)/2] }},
	{"first bit flipped", func(b []byte) []byte { b[0] ^= 1; return b }},
	{"middle bit flipped", func(b []byte) []byte { b[len(b)/2] ^= 8; return b }},
	{"last bit flipped", func(b []byte) []byte { b[len(b)-1] ^= 128; return b }},
}

// Each kind of damage to one artifact of each kind is found exactly so: what
// check and verify say of it, word for word, is in testdata/findings.txt.
func TestGoldenDamage(t *testing.T) {
	t.Parallel()
	whole := golden(t, 1)
	var out strings.Builder
	for _, kind := range goldenArtifacts(t, whole) {
		for _, d := range damageOf {
			store := whole.Clone()
			replace(t, store, kind.object, d.make(bytes.Clone(fetch(t, store, kind.object))))
			fmt.Fprintf(&out, "== %s %s\n%s", kind.name, d.name, goldenFindings(t, store))
		}
	}
	path := filepath.Join("testdata", "findings.txt")
	if *update {
		if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "wrong: ") {
		t.Error("a damage hands out wrong bytes")
	}
	sections := strings.Split(string(want), "== ")
	for i, got := range strings.Split(out.String(), "== ") {
		if i >= len(sections) || got != sections[i] {
			t.Fatalf("found:\n%s\nexpected:\n%s", got, append(sections, "", "")[min(i, len(sections))])
		}
	}
	t.Logf("%d damages", strings.Count(out.String(), "== "))
}

// artifact is one object of the golden repository by what it is.
type artifact struct{ name, object string }

// goldenArtifacts finds one or two of each kind.
func goldenArtifacts(t *testing.T, store *mem.Store) []artifact {
	t.Helper()
	byKind := map[string][]string{}
	for info, err := range store.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := strings.Cut(info.Name, "/")
		if kind == "packs" {
			kind = map[byte]string{1: "pack of chunks", 2: "pack of nodes"}[fetch(t, store, info.Name)[10]]
		}
		byKind[kind] = append(byKind[kind], info.Name)
	}
	ledger := byKind["ledger"]
	all := []artifact{{"config.a", "config.a"}, {"key slot", byKind["keys"][0]}, {"state", byKind["state"][0]},
		{"record folded into a state", ledger[2]}, {"record behind the state", ledger[len(ledger)-3]}, {"newest record", ledger[len(ledger)-1]}}
	for _, kind := range []string{"points", "index", "pack of chunks", "pack of nodes"} {
		for i, object := range byKind[kind] {
			all = append(all, artifact{fmt.Sprint(kind, " ", i), object})
		}
	}
	return all
}

// goldenFindings opens a repository and tells what check and verify find and
// which points restore.
func goldenFindings(t *testing.T, store objstore.Store) string {
	t.Helper()
	var out strings.Builder
	r, err := repository.Open(t.Context(), store, testKey, repository.Options{Workers: 1})
	if err != nil {
		return fmt.Sprintf("open: %v\n", err)
	}
	defer func() { _ = r.Close() }()
	rep, err := r.Check(t.Context(), repository.CheckOptions{})
	if err != nil {
		fmt.Fprintf(&out, "check: %v\n", err)
	}
	for _, f := range rep.Findings {
		fmt.Fprintf(&out, "check: %s: %s (harmless %v)%s\n", f.Artifact, f.Problem, f.Harmless, hurtText(f.Points))
	}
	fmt.Fprintf(&out, "check: lost %v\n", rep.Lost)
	st, err := r.Verify(t.Context(), repository.VerifyOptions{})
	if err != nil && !errors.Is(err, repository.ErrDamaged) {
		fmt.Fprintf(&out, "verify: %v\n", err)
	}
	for _, d := range st.Damage {
		fmt.Fprintf(&out, "verify: %s: %v%s\n", d.Artifact, d.Cause, hurtText(d.Points))
	}
	for _, u := range st.Unread {
		fmt.Fprintf(&out, "verify: %s: unread\n", u)
	}
	fmt.Fprintf(&out, "restores: %s\n", goldenRestores(t.Context(), r))
	return out.String()
}

func hurtText(hurts []repository.Hurt) string {
	var out strings.Builder
	slices.SortFunc(hurts, func(a, b repository.Hurt) int { return strings.Compare(a.Point, b.Point) })
	for _, h := range hurts {
		fmt.Fprintf(&out, "; %s", h.Point)
		if h.Attributes {
			out.WriteString(" configuration")
		}
		for _, x := range h.Ranges {
			fmt.Fprintf(&out, " %s[%d,+%d]", h.Disk, x.Offset/chunkSize, (x.Length+chunkSize-1)/chunkSize)
		}
	}
	return out.String()
}

// goldenRestores tells of each point whether it is right, hurt, gone or wrong.
func goldenRestores(ctx context.Context, r *repository.Repository) string {
	var out []string
	for n := range 3 {
		p, err := r.Point(ctx, fmt.Sprintf("p%d", n))
		if err == nil || errors.Is(err, repository.ErrDamaged) {
			err = restores(ctx, r, p, goldenDisk(n))
		}
		switch {
		case err == nil:
			out = append(out, "right")
		case errors.Is(err, repository.ErrDamaged):
			out = append(out, "hurt")
		case errors.Is(err, repository.ErrNoPoint):
			out = append(out, "gone")
		default: // that is never to be expected
			out = append(out, "wrong: "+err.Error())
		}
	}
	return strings.Join(out, " ")
}
