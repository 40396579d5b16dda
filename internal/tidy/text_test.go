package tidy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	fileLines     = 700 // more is several ideas in one file
	functionLines = 70  // one screen
	testLines     = 110 // a test function carries its tables
)

// longFunctions are allowed over the limit, each with its reason.
var longFunctions = map[string]string{}

// tracked lists the tree's text files with one of the extensions.
func tracked(t *testing.T, patterns ...string) []string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"ls-files", "-co", "--exclude-standard", "--"}, patterns...)...)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	var files []string
	for file := range strings.Lines(string(out)) {
		file = strings.TrimSuffix(file, "\n")
		if _, err := os.Stat(filepath.Join(root, file)); err == nil {
			files = append(files, file)
		}
	}
	if len(files) == 0 {
		t.Fatalf("no file matches %v", patterns)
	}
	return files
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFilesAndFunctionsAreShort(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, file := range tracked(t, "*.go") {
		text := read(t, file)
		if strings.HasPrefix(text, "// Code generated ") {
			continue
		}
		if n := strings.Count(text, "\n"); n > fileLines {
			t.Errorf("%s has %d lines, at most %d: is it one idea?", file, n, fileLines)
		}
		limit := functionLines
		if strings.HasSuffix(file, "_test.go") {
			limit = testLines
		}
		files := token.NewFileSet()
		parsed, err := parser.ParseFile(files, file, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			name := filepath.ToSlash(filepath.Dir(file)) + "." + fn.Name.Name
			n := files.Position(fn.End()).Line - files.Position(fn.Pos()).Line + 1
			if n <= limit {
				continue
			}
			used[name] = true
			if longFunctions[name] == "" {
				t.Errorf("%s: %s has %d lines, at most %d", file, fn.Name.Name, n, limit)
			}
		}
	}
	for name := range longFunctions {
		if !used[name] {
			t.Errorf("%s needs no exception any more", name)
		}
	}
}

// The words are joined here so that this file doesn't hold them.
var unfinished = regexp.MustCompile(`(?i)\b(` + strings.Join([]string{"to" + "do", "fix" + "me", "x" + "xx", "not " + "implemented"}, "|") + `)\b`)

func TestNothingIsUnfinishedByItsOwnWords(t *testing.T) {
	t.Parallel()
	lines(t, unfinished, "says that it is unfinished", "*.go", "*.md", "*.sh", "scripts/*", "Makefile", ".ci/*", "dist/*")
}

// Paths that mean something on one machine only. A fixed name in the shared
// temporary directory is one, too; a test may mean the one inside its guest.
var (
	machinePath   = regexp.MustCompile(`(^|[^A-Za-z0-9._$}/-])/(work|farm|home/[a-z]+)/[A-Za-z0-9_]`)
	temporaryPath = regexp.MustCompile(`(^|[^A-Za-z0-9._$}/-])/tmp/[A-Za-z0-9_]`)
)

func TestNoPathOfOneMachine(t *testing.T) {
	t.Parallel()
	everywhere := []string{"*.go", "*.md", "*.sh", "scripts/*", "Makefile", ".ci/*", "dist/*"}
	lines(t, machinePath, "holds a path of one machine", everywhere...)
	lines(t, temporaryPath, "holds a fixed name in a shared directory", append(everywhere, ":!*_test.go")...)
}

func lines(t *testing.T, bad *regexp.Regexp, what string, patterns ...string) {
	t.Helper()
	for _, file := range tracked(t, patterns...) {
		n := 0
		for line := range strings.Lines(read(t, file)) {
			n++
			if bad.MatchString(line) {
				t.Errorf("%s:%d %s: %s", file, n, what, strings.TrimSpace(line))
			}
		}
	}
}

var markdownLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestLinksInDocumentsLeadSomewhere(t *testing.T) {
	t.Parallel()
	for _, file := range tracked(t, "*.md") {
		for _, m := range markdownLink.FindAllStringSubmatch(read(t, file), -1) {
			link, err := url.Parse(m[1])
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			if link.Scheme != "" {
				continue // the web is not ours to check
			}
			to := file
			if link.Path != "" {
				to = filepath.Join(filepath.Dir(file), link.Path)
			}
			if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				t.Errorf("%s: %s leads nowhere", file, m[1])
				continue
			}
			if link.Fragment != "" && !hasHeading(read(t, to), link.Fragment) {
				t.Errorf("%s: %s has no heading #%s", file, to, link.Fragment)
			}
		}
	}
}

var notInAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)

// hasHeading says whether a Markdown text has the heading that an anchor means.
func hasHeading(text, anchor string) bool {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			continue
		}
		heading := strings.ToLower(strings.TrimSpace(strings.TrimLeft(line, "#")))
		if strings.ReplaceAll(notInAnchor.ReplaceAllString(heading, ""), " ", "-") == anchor {
			return true
		}
	}
	return false
}

var requirement = regexp.MustCompile(`(?m)^(?:require)?\s+(\S+\.\S+/?\S*) v\S+$`) // direct: no comment behind it

// Every direct dependency is named, with why, in docs/design/dependencies.md.
func TestDependenciesAreAccountedFor(t *testing.T) {
	t.Parallel()
	page := read(t, "docs/design/dependencies.md")
	for _, m := range requirement.FindAllStringSubmatch(read(t, "go.mod"), -1) {
		if !strings.Contains(page, "`"+m[1]+"`") {
			t.Errorf("go.mod requires %s; docs/design/dependencies.md doesn't say why", m[1])
		}
	}
}
