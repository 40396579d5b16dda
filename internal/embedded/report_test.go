package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// TestReportOnce: what is wrong each minute is said once, until it was right.
func TestReportOnce(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := &Server{cfg: Config{Log: slog.New(slog.NewTextHandler(&out, nil))}, said: map[string]map[string]bool{}}
	one, two := errors.New("policy one"), errors.New("policy two")
	for _, c := range []struct {
		err  error
		want int // lines in all
	}{
		{nil, 0}, {one, 1}, {one, 1}, {errors.Join(one, two), 2}, {errors.Join(errors.Join(two), one), 2}, {two, 2}, {nil, 2}, {two, 3}, {fmt.Errorf("more: %w", two), 4},
	} {
		s.report(t.Context(), "scheduled backups", c.err)
		if got := strings.Count(out.String(), "\n"); got != c.want {
			t.Errorf("after %v: %d lines, want %d:\n%s", c.err, got, c.want, &out)
		}
	}
}
