package local_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/local"
)

// TestMain lets the test's binary be one of the processes of TestProcesses.
func TestMain(m *testing.M) {
	if dir := os.Getenv("HOLDFAST_LOCAL_TEST_DIR"); dir != "" {
		if err := createAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const contested = 60 // names

// createAll tries to create every name and prints those that it did.
func createAll(dir string) error {
	ctx := context.Background()
	s, err := local.Open(ctx, dir)
	if err != nil {
		return err
	}
	defer s.Close()
	for i := range contested {
		name := fmt.Sprintf("d%d/%d", i%7, i)
		err := s.Put(ctx, name, bytes.NewReader(fmt.Append(nil, os.Getpid())), objstore.PutOptions{})
		switch {
		case err == nil:
			fmt.Println(name)
		case !errors.Is(err, objstore.ErrExist):
			return err
		}
	}
	return nil
}

// Of several processes that create the same names at once, each opening the
// store while others write, exactly one gets each name, and its content is it.
func TestProcesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	var running []*exec.Cmd
	outputs := map[int]*bytes.Buffer{}
	for range 4 {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), "HOLDFAST_LOCAL_TEST_DIR="+dir)
		out := new(bytes.Buffer)
		c.Stdout, c.Stderr = out, os.Stderr
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		outputs[c.Process.Pid] = out
		running = append(running, c)
	}
	won := map[string]int{}
	for _, c := range running {
		if err := c.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	for pid, out := range outputs {
		for name := range strings.FieldsSeq(out.String()) {
			if won[name] != 0 {
				t.Errorf("%q was created by %d and by %d", name, won[name], pid)
			}
			won[name] = pid
		}
	}
	if len(won) != contested {
		t.Errorf("%d names were created, want %d", len(won), contested)
	}
	for name, pid := range won {
		if got := content(t, s, name); got != fmt.Sprint(pid) {
			t.Errorf("%q holds %q, its winner is %d", name, got, pid)
		}
	}
	if left, err := os.ReadDir(dir + "/+tmp"); err != nil || len(left) > 0 {
		t.Errorf("%d temporary files are left, %v", len(left), err)
	}
}
