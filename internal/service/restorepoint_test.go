package service

import (
	"strings"
	"testing"
	"time"
)

func TestPointIDsSortByTime(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	last := ""
	for range 1000 {
		now = now.Add(time.Millisecond)
		id := newPointID(now)
		if len(id) != 19 || strings.Trim(id, "0123456789") != "" || id <= last {
			t.Fatalf("point id %q after %q", id, last)
		}
		last = id
	}
}
