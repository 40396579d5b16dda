package snapshot

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// TestYield looks at every thread of a process that has yielded, and of what it
// starts: another process, since this one's tests are to go on as they were.
func TestYield(t *testing.T) {
	if os.Getenv("HOLDFAST_YIELD") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestYield$", "-test.v")
		cmd.Env = append(os.Environ(), "HOLDFAST_YIELD=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return
	}
	if err := Yield(); err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	for range 8 { // new threads
		go func() {
			err := exec.Command("true").Run()
			done <- err == nil
		}()
	}
	for range 8 {
		<-done
	}
	// proc(5): the 19th field of stat, the 17th behind the name in brackets.
	out, err := exec.Command("sh", "-c", "cat /proc/$PPID/task/*/stat /proc/self/stat").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		_, rest, _ := strings.Cut(line, ") ")
		if nice, err := strconv.Atoi(strings.Fields(rest)[16]); err != nil || nice < niceness {
			t.Errorf("a thread has niceness %d (%v): %s", nice, err, line)
		}
	}
}
