package main

import (
	"strings"
	"testing"
)

const (
	good = `{"Action":"run","Package":"holdfast/internal/a","Test":"TestA"}
{"Action":"run","Package":"holdfast/internal/a","Test":"TestA/one"}
{"Action":"pass","Package":"holdfast/internal/a","Test":"TestA/one","Elapsed":0}
{"Action":"pass","Package":"holdfast/internal/a","Test":"TestA","Elapsed":0}
{"Action":"output","Package":"holdfast/internal/a","Test":"TestB","Output":"=== RUN   TestB\n"}
{"Action":"output","Package":"holdfast/internal/a","Test":"TestB","Output":"    a_test.go:3: no kvm here\n"}
{"Action":"output","Package":"holdfast/internal/a","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"holdfast/internal/a","Test":"TestB","Elapsed":0}
{"Action":"pass","Package":"holdfast/internal/a","Elapsed":1.5}
`
	bad = `{"Action":"output","Package":"holdfast/internal/b","Test":"TestC","Output":"    b_test.go:9: wrong\n"}
{"Action":"fail","Package":"holdfast/internal/b","Test":"TestC","Elapsed":0}
{"Action":"fail","Package":"holdfast/internal/b","Elapsed":0.1}
`
	unbuilt = `{"ImportPath":"holdfast/internal/c","Action":"build-output","Output":"c.go:1: syntax error\n"}
{"ImportPath":"holdfast/internal/c","Action":"build-fail"}
{"Action":"fail","Package":"holdfast/internal/c","Elapsed":0,"FailedBuild":"holdfast/internal/c"}
`
)

func TestSummary(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, log string
		required  []string
		want      []string
		fails     bool
	}{
		{"good", good, []string{"a.TestA"}, []string{"1 passed, 0 failed, 1 skipped", "skipped a.TestB: a_test.go:3: no kvm here", "a 1.5s"}, false},
		{"a failure", good + bad, nil, []string{"--- FAIL b.TestC\n    b_test.go:9: wrong", "1 passed, 1 failed, 1 skipped"}, true},
		{"no build", good + unbuilt, nil, []string{"c.go:1: syntax error", "1 passed, 1 failed, 1 skipped"}, true},
		{"required, skipped", good, []string{"a.TestB"}, []string{"has to run: a.TestB ended as skip"}, true},
		{"required, gone", good, []string{"a.TestGone"}, []string{"has to run: a.TestGone didn't run"}, true},
		{"nothing", "", nil, []string{"0 passed"}, true},
		{"a tool's own words", "go: downloading x\n" + good, nil, []string{"go: downloading x\n"}, false},
	} {
		var out strings.Builder
		s := newSummary()
		if err := s.read(strings.NewReader(c.log), &out); err != nil {
			t.Fatal(err)
		}
		err := s.write(&out, c.required)
		if (err != nil) != c.fails {
			t.Errorf("%s: error %v", c.name, err)
		}
		for _, want := range c.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: %q isn't in:\n%s", c.name, want, out.String())
			}
		}
	}
}

func TestRequired(t *testing.T) {
	t.Parallel()
	have := required("# all\n\na.TestA # why\nb.TestB\n")
	if strings.Join(have, ",") != "a.TestA,b.TestB" {
		t.Errorf("%v", have)
	}
}
