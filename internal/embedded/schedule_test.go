package embedded_test

import (
	"sync/atomic"
	"testing"
	"time"
)

// TestScheduleTicks lets a day pass under a running server: the protected VM is
// backed up without anybody asking.
func TestScheduleTicks(t *testing.T) {
	t.Parallel()
	w, ticks, passed := newWorld(), make(chan time.Time), atomic.Int64{}
	w.ticks, w.clock = ticks, func() time.Time { return time.Now().UTC().Add(time.Duration(passed.Load())) }
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	s.protect(t)
	ticks <- time.Now()
	ticks <- time.Now() // taken when the first has been dealt with
	select {
	case what := <-w.begun:
		t.Fatalf("%s before its time", what)
	default:
	}
	passed.Store(int64(25 * time.Hour))
	ticks <- time.Now()
	if what := <-w.begun; what != "backup web" {
		t.Errorf("after a day: %s", what)
	}
}
