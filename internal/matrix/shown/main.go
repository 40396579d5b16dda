// Command shown reads the log that matrix.Covers wrote while the tests ran and
// prints how many rows of the support matrix a passing test showed, and which
// are not shown, grouped. It fails on a log that it cannot read, and on a row
// that is said to hold whole (no open work) but was not shown.
//
//	go run ./internal/matrix/shown LOG
package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/matrix"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: shown LOG")
		os.Exit(2)
	}
	log, err := os.ReadFile(os.Args[1])
	if err == nil {
		err = report(os.Stdout, string(log))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "shown:", err)
		os.Exit(1)
	}
}

func report(w io.Writer, log string) error {
	shown, err := read(log)
	if err != nil {
		return err
	}
	var missing []string
	groups := map[string][]string{} // open work -> ids not shown
	var order []string
	rows := matrix.Rows()
	for _, r := range rows {
		if shown[r.ID] {
			continue
		}
		if r.Open == "" {
			missing = append(missing, r.ID)
			continue
		}
		if groups[r.Open] == nil {
			order = append(order, r.Open)
		}
		groups[r.Open] = append(groups[r.Open], r.ID)
	}
	slices.Sort(order)
	for _, open := range order {
		fmt.Fprintf(w, "matrix: not shown, open with %s: %s\n", open, ranges(groups[open]))
	}
	fmt.Fprintf(w, "matrix: %d of %d rows shown\n", len(shown), len(rows))
	if len(missing) > 0 {
		return fmt.Errorf("said to hold, but no passing test showed it in this run: %s", ranges(missing))
	}
	return nil
}

// read gives the ids that at least one test showed and no test disproved.
func read(log string) (map[string]bool, error) {
	shown, failed := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(log) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) != 3 {
			return nil, fmt.Errorf("not a line of a matrix log: %q", line)
		}
		id, outcome := fields[0], fields[2]
		if _, ok := matrix.Find(id); !ok {
			return nil, fmt.Errorf("there is no row %q", id)
		}
		switch outcome {
		case "pass":
			shown[id] = true
		case "fail":
			failed[id] = true
		}
	}
	for id := range failed {
		delete(shown, id)
	}
	return shown, nil
}

// ranges shortens WIN-01, WIN-02, WIN-03 to WIN-01…03.
func ranges(ids []string) string {
	var out []string
	for i := 0; i < len(ids); {
		j := i
		for j+1 < len(ids) && follows(ids[j], ids[j+1]) {
			j++
		}
		if j > i+1 {
			out = append(out, ids[i]+"…"+ids[j][4:])
		} else {
			out = append(out, ids[i:j+1]...)
		}
		i = j + 1
	}
	return strings.Join(out, " ")
}

func follows(a, b string) bool {
	n, err := strconv.Atoi(a[4:])
	m, err2 := strconv.Atoi(b[4:])
	return a[:4] == b[:4] && err == nil && err2 == nil && m == n+1
}
