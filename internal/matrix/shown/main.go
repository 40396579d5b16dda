// Command shown reads the log that matrix.Covers wrote while the tests ran and
// prints how many rows of the support matrix a passing test showed, whole or in
// part (a row with open work), and which are not shown, grouped. It fails on a log that it cannot read, and on a row
// that is said to hold whole (no open work) but was not shown.
//
//	go run ./internal/matrix/shown LOG
package main

import (
	"fmt"
	"io"
	"maps"
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
	var whole int
	var part, missing []string
	groups := map[string][]string{} // open work -> ids not shown
	rows := matrix.Rows()
	for _, r := range rows {
		switch {
		case shown[r.ID] && r.Open == "":
			whole++
		case shown[r.ID]:
			part = append(part, r.ID)
		case r.Open == "":
			missing = append(missing, r.ID)
		default:
			groups[r.Open] = append(groups[r.Open], r.ID)
		}
	}
	for _, open := range slices.Sorted(maps.Keys(groups)) {
		fmt.Fprintf(w, "matrix: not shown, open with %s: %s\n", open, ranges(groups[open]))
	}
	if len(part) > 0 {
		fmt.Fprintf(w, "matrix: shown in part, the rest is open: %s\n", ranges(part))
	}
	fmt.Fprintf(w, "matrix: %d of %d rows shown, %d more in part\n", whole, len(rows), len(part))
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
