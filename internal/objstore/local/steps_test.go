package local_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/crash"
)

var update = flag.Bool("update", false, "rewrite the golden file of durable steps")

var random = regexp.MustCompile(`\+tmp/\w+`)

// The order of the durable steps is what crash safety stands on: it's a file,
// so that nobody changes it unseen.
func TestSteps(t *testing.T) {
	disk := crash.NewDisk()
	var log strings.Builder
	disk.Before(func(s crash.Step) error {
		fmt.Fprintf(&log, "  %s\n", random.ReplaceAllString(s.String(), "+tmp/*"))
		return nil
	})
	s, err := crash.Open(t.Context(), disk)
	if err != nil {
		t.Fatal(err)
	}
	put := func(name string) {
		fmt.Fprintf(&log, "put %s\n", name)
		if err := s.Put(t.Context(), name, bytes.NewReader([]byte("data")), objstore.PutOptions{}); err != nil {
			fmt.Fprintln(&log, "  = exists")
		}
	}
	put("packs/00/a")
	put("packs/00/b")
	put("packs/00/b")
	put("c")
	for range 2 {
		fmt.Fprintln(&log, "delete c")
		if err := s.Delete(t.Context(), "c"); err != nil {
			fmt.Fprintln(&log, "  = absent")
		}
	}
	if *update {
		if err := os.WriteFile("testdata/steps.txt", []byte(log.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/steps.txt")
	if err != nil {
		t.Fatal(err)
	}
	if log.String() != string(want) {
		t.Fatalf("the durable steps have changed; they are now\n%s", log.String())
	}
}
