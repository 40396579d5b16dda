package cli

import (
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"holdfast/internal/matrix"
)

func matrixCommand() *cobra.Command {
	var output string
	var short bool
	c := &cobra.Command{
		Use: "matrix", Short: "Print the support matrix: what is supported, where it is enforced, which tests show it",
		Long: `Print every row of the support matrices for VM backup and VM restore points: its
id, the verdict, where it is enforced and what is still open, and the tests that
show it. It is data of this binary and needs no server.`,
		Example: "  holdfast matrix\n  holdfast matrix --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if short {
				output = asJSON
			}
			switch output {
			case asJSON:
				return matrix.WriteJSON(cmd.OutOrStdout())
			case "markdown":
				return matrix.WriteMarkdown(cmd.OutOrStdout())
			case asTable:
				return matrixTable(cmd.OutOrStdout())
			}
			return usagef("--output is %q; it is table, json or markdown.", output)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", asTable, "`FORMAT`: table, json or markdown")
	c.Flags().BoolVar(&short, "json", false, "short for --output json")
	c.MarkFlagsMutuallyExclusive("output", "json")
	fixed(c, "output", asTable, asJSON, "markdown")
	return c
}

func matrixTable(w io.Writer) error {
	rows := [][]string{{"ID", "VERDICT", "TESTS", "SUBJECT", "ENFORCEMENT"}}
	for _, r := range matrix.Rows() {
		rows = append(rows, []string{r.ID, string(r.Verdict), strconv.Itoa(len(r.Tests())), r.Subject, cut(r.Enforcement(), 60)})
	}
	return table(w, rows)
}
