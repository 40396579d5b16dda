package livevm

import (
	"strings"
	"testing"
	"time"
)

func TestLatency(t *testing.T) {
	t.Parallel()
	l, err := latency(strings.Repeat("1000\n", 95) + strings.Repeat("20000\n", 4) + "70000\n")
	if want := (Latency{100, time.Millisecond, time.Millisecond, 20 * time.Millisecond, 70 * time.Millisecond}); err != nil || l != want {
		t.Errorf("%+v, %v, want %+v", l, err, want)
	}
	for _, bad := range []string{"", "1000\n", strings.Repeat("x\n", 50)} {
		if _, err := latency(bad); err == nil {
			t.Errorf("%.10q is taken for a measure", bad)
		}
	}
}
