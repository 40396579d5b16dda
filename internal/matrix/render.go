package matrix

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// WriteJSON writes every row as one JSON array, for `holdfast matrix --json`.
func WriteJSON(w io.Writer) error {
	type row struct {
		ID          string   `json:"id"`
		Document    Document `json:"document"`
		Section     string   `json:"section"`
		Subject     string   `json:"subject"`
		Stance      string   `json:"stance"`
		Must        string   `json:"must"`
		Lift        bool     `json:"lift"`
		Verdict     Verdict  `json:"verdict"`
		Enforcement string   `json:"enforcement"`
		Open        string   `json:"open,omitempty"`
		Tests       []string `json:"tests"`
	}
	out := []row{}
	for _, r := range Rows() {
		out = append(out, row{r.ID, r.Document, r.Section, r.Subject, r.Stance, r.Must, r.Lift,
			r.Verdict, r.Enforcement(), r.Open, append([]string{}, r.Tests()...)})
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

// WriteMarkdown writes docs/support-matrix.md.
func WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprint(&b, markdownHead)
	open, lifted := 0, 0
	for _, r := range Rows() {
		if r.Open != "" {
			open++
		}
		if r.Lift {
			lifted++
		}
	}
	fmt.Fprintf(&b, "\n%d rows; %d hold whole, %d still have open work; %d are limits of the service that `limits: extended` is to lift.\n",
		len(Rows()), len(Rows())-open, open, lifted)
	var document Document
	for _, t := range tables {
		if t.document != document {
			document = t.document
			fmt.Fprintf(&b, "\n## %s\n", titles[document])
		}
		fmt.Fprintf(&b, "\n### %s\n\n| row | subject | the matrix says | Holdfast | where |\n|---|---|---|---|---|\n", t.section)
		for _, r := range t.rows {
			lift := ""
			if r.Lift {
				lift = " *Lifted by extended limits.*"
			}
			fmt.Fprintf(&b, "| %s | %s | **%s.** %s | %s%s | %s |\n",
				r.ID, r.Subject, r.Verdict, r.Stance, r.Must, lift, r.Enforcement())
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

var titles = map[Document]string{
	Backup:        "VM backup",
	RestorePoints: "VM restore points",
}

const markdownHead = `# What is supported

<!-- Written by "make matrix" from internal/matrix; a test compares. -->

Every row of the two support matrices that Holdfast follows, *Support matrix for Azure VM backup* and *Support matrix for VM restore points*, in our own words.
"The matrix says" is what the document states; "Holdfast" is what Holdfast has to do about it; "where" is the part that does it.
**A row marked "open" doesn't hold yet, or not whole; don't rely on it.** A row that isn't open is shown by a test that ran.
`
