package tidy

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

const (
	root   = "../.." // of the tree
	module = "holdfast"
)

// pkg is what go list says of a package.
type pkg struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
}

// packages lists the module's packages.
var packages = sync.OnceValues(func() ([]pkg, error) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
})

func tree(t *testing.T) []pkg {
	t.Helper()
	all, err := packages()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// rule is one row of the table in architecture.md.
type rule struct {
	rooms      []string // patterns
	may        []string // patterns
	everything bool
	why        string
}

var quoted = regexp.MustCompile("`([^`]+)`")

// rules reads the table. Its form is checked, so that a row with a slip of the
// pen doesn't allow or forbid by accident.
func rules(t *testing.T) []rule {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", "design", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "| room | imports (ours) | why |\n|---|---|---|\n")
	if !found {
		t.Fatal("architecture.md has no import table")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	var all []rule
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 3 {
			t.Fatalf("not a row of three cells: %s", line)
		}
		r := rule{rooms: names(cells[0]), may: names(cells[1]), why: strings.TrimSpace(cells[2])}
		imports := strings.TrimSpace(cells[1])
		r.everything = imports == "everything"
		if len(r.rooms) == 0 || r.why == "" || (len(r.may) == 0 && !r.everything && imports != "nothing") {
			t.Fatalf("a room, what it imports (`x`, nothing or everything) and why: %s", line)
		}
		all = append(all, r)
	}
	return all
}

func names(cell string) []string {
	var all []string
	for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
		all = append(all, m[1])
	}
	return all
}

// room gives a package's name in the table, and whether it is ours.
func room(importPath string) (string, bool) {
	if importPath == module {
		return "root", true
	}
	rest, ours := strings.CutPrefix(importPath, module+"/")
	return strings.TrimPrefix(rest, "internal/"), ours
}

// matches says whether a room is meant by a pattern, and how exactly.
func matches(pattern, room string) (bool, int) {
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return room == base || strings.HasPrefix(room, base+"/"), len(base)
	}
	ok, _ := path.Match(pattern, room) // the patterns are ours and well formed
	if pattern == room {
		return true, len(pattern) + 1000
	}
	return ok, len(pattern)
}

// ruleFor gives the rule that names the room most exactly.
func ruleFor(all []rule, room string) (rule, bool) {
	var best rule
	score := -1
	for _, r := range all {
		for _, pattern := range r.rooms {
			if ok, exact := matches(pattern, room); ok && exact > score {
				best, score = r, exact
			}
		}
	}
	return best, score >= 0
}

func (r rule) allows(room string) bool {
	return r.everything || slices.ContainsFunc(r.may, func(pattern string) bool {
		ok, _ := matches(pattern, room)
		return ok
	})
}

func forTests(room string) bool {
	base := path.Base(room)
	return strings.HasSuffix(base, "test") || slices.Contains([]string{"fault", "crash", "guestlab"}, base)
}

func TestImportsRunOneWay(t *testing.T) {
	t.Parallel()
	all := rules(t)
	for _, p := range tree(t) {
		from, _ := room(p.ImportPath)
		r, known := ruleFor(all, from)
		if !known {
			t.Errorf("%s: the table in docs/design/architecture.md doesn't name this room: say what it may import, and why", from)
			continue
		}
		for _, path := range p.Imports {
			to, ours := room(path)
			switch {
			case !ours:
				if first, _, _ := strings.Cut(path, "/"); from == "root" && strings.Contains(first, ".") {
					t.Errorf("root imports %s: it imports the standard library only", path)
				}
			case forTests(to) && !forTests(from):
				t.Errorf("%s imports %s: that room is for tests", from, to)
			case forTests(from):
				// A room for tests builds fixtures out of what it needs.
			case !r.allows(to):
				t.Errorf("%s may not import %s (%s)", from, to, r.why)
			}
		}
	}
}

func TestRulesReadAsWritten(t *testing.T) {
	t.Parallel()
	all := rules(t)
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"cmd/holdfast", "mover/backup", true},
		{"mover/backup", "mover/restore", false},
		{"mover/backup", "repository", true},
		{"mover/backup", "repository/pack", false},
		{"service", "repository", false},
		{"repository", "repository/pack", true},
		{"repository/pack", "repository", false},
		{"repository", "objstore/s3", false},
		{"cli", "objstore/s3", true},
		{"snapshot", "root", false},
		{"hypervisor", "hypervisor/libvirt", false},
		{"hypervisor/libvirt", "hypervisor", true},
		{"root", "arm", false},
	} {
		r, known := ruleFor(all, c.from)
		if !known || r.allows(c.to) != c.want {
			t.Errorf("%s -> %s: known %v, allowed %v; want %v", c.from, c.to, known, r.allows(c.to), c.want)
		}
	}
	if _, known := ruleFor(all, "drawer"); known {
		t.Error("a room that nobody named is known")
	}
}

// No test code in production: the binary doesn't link the package testing.
func TestBinaryLinksNoTestCode(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(filepath.Join(root, "cmd", "holdfast")); err != nil {
		t.Skip("there is no cmd/holdfast yet")
	}
	cmd := exec.Command("go", "list", "-deps", "./cmd/holdfast")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range strings.Fields(string(out)) {
		if to, ours := room(path); path == "testing" || (ours && forTests(to)) {
			t.Errorf("the binary links %s", path)
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	t.Parallel()
	for _, p := range tree(t) {
		comment := ""
		for _, file := range p.GoFiles {
			parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			comment += parsed.Doc.Text()
		}
		if len(p.GoFiles) > 0 && len(comment) < 80 {
			t.Errorf("%s has no package comment worth the name: %q", p.ImportPath, comment)
		}
	}
}
