package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"holdfast/internal/cli"
)

var update = flag.Bool("update", false, "write docs/cli.md anew")

// TestCommandLinePageIsCurrent holds docs/cli.md, which is made of the help of
// every command, to what the commands say.
func TestCommandLinePageIsCurrent(t *testing.T) {
	t.Parallel()
	root := cli.Root(commands()...)
	root.InitDefaultCompletionCmd()
	var b strings.Builder
	b.WriteString("# The command line\n\n" +
		"This page is the help of every command; `go test ./cmd/holdfast -update` makes it anew.\n")
	page(&b, root)
	file := filepath.Join("..", "..", "docs", "cli.md")
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != b.String() {
		t.Errorf("docs/cli.md is stale at line %d: go test ./cmd/holdfast -update makes it anew", firstDifference(string(got), b.String()))
	}
}

// TestDocumentsUseRealCommands parses every line of the documents that is a
// command of holdfast: the command and its flags have to be there.
func TestDocumentsUseRealCommands(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("..", "..", "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, file := range append(files, filepath.Join("..", "..", "README.md")) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
			words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "sudo "))
			if len(words) < 2 || words[0] != "holdfast" || strings.ContainsAny(line, "[<…(.|") {
				continue
			}
			seen++
			root := cli.Root(commands()...)
			root.InitDefaultCompletionCmd()
			c, rest, err := root.Find(words[1:])
			if err == nil {
				err = c.ParseFlags(rest)
			}
			if err == nil && c.Args != nil {
				err = c.Args(c, c.Flags().Args())
			}
			if err != nil {
				t.Errorf("%s: %s: %v", filepath.Base(file), strings.TrimSpace(line), err)
			}
		}
	}
	if seen < 20 {
		t.Errorf("%d commands found in the documents; the test looks in the wrong place", seen)
	}
}

func firstDifference(a, b string) int {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return i + 1
		}
	}
	return min(len(x), len(y)) + 1
}

// page writes the section of c and those of its verbs.
func page(b *strings.Builder, c *cobra.Command) {
	if c.Hidden {
		return
	}
	level := strings.Count(c.CommandPath(), " ")
	fmt.Fprintf(b, "\n%s %s\n", strings.Repeat("#", min(level+2, 4)), c.CommandPath())
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	block(b, text)
	if !c.HasSubCommands() {
		block(b, c.UseLine())
	} else {
		var list strings.Builder
		for _, sub := range c.Commands() {
			if !sub.Hidden {
				fmt.Fprintf(&list, "%-12s %s\n", sub.Name(), sub.Short)
			}
		}
		block(b, list.String())
	}
	if c.HasAvailableLocalFlags() {
		block(b, c.NonInheritedFlags().FlagUsages())
	}
	if c.HasExample() {
		block(b, c.Example)
	}
	for _, sub := range c.Commands() {
		page(b, sub)
	}
}

func block(b *strings.Builder, text string) {
	fmt.Fprintf(b, "\n```\n%s\n```\n", strings.TrimRight(text, "\n"))
}
