package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
)

// printJSON prints what the server sent, indented and otherwise untouched.
func printJSON(w io.Writer, raw json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(raw), "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}

// resource is one resource that can be printed.
type resource struct {
	raw   json.RawMessage
	cells []string // its row in a list
}

// list prints resources: JSON as one array, or a table under a header.
func (s *session) list(header string, resources []resource) error {
	if s.output == asJSON {
		all := make([]json.RawMessage, len(resources))
		for i, r := range resources {
			all[i] = r.raw
		}
		b, err := json.Marshal(all)
		if err != nil {
			return err
		}
		return printJSON(s.out(), b)
	}
	rows := [][]string{strings.Split(header, ",")}
	for _, r := range resources {
		rows = append(rows, r.cells)
	}
	return table(s.out(), rows)
}

// fact is one line of a show.
type fact struct{ name, value string }

// show prints one resource: JSON, or its facts below each other. Facts without
// a value are left out.
func (s *session) show(raw json.RawMessage, facts []fact) error {
	if s.output == asJSON {
		return printJSON(s.out(), raw)
	}
	var rows [][]string
	for _, f := range facts {
		if f.value != "" {
			rows = append(rows, []string{f.name, f.value})
		}
	}
	return table(s.out(), rows)
}

// table prints rows in columns.
func table(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.StripEscape)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(t, "\t")
			}
			if cell == "" && i < len(row)-1 {
				cell = "-"
			}
			fmt.Fprint(t, printable(cell))
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

// printable takes out what could move the cursor or break a row: names come
// from guests and from other people.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

// when is a time for people, in UTC; empty for none.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// size is a number of bytes for people.
func size(n int64) string {
	if n < 0 {
		n = 0
	}
	return humanize.IBytes(uint64(n))
}

// took is a length of time for people.
func took(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}
