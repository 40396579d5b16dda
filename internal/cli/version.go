package cli

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build is what this binary is, as the Go tool chain recorded it.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from a tree with changes
	Time     string `json:"time,omitempty"`     // of the commit
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func thisBuild() build {
	b := build{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Version = info.Main.Version
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		case "vcs.time":
			b.Time = s.Value
		}
	}
	return b
}

func versionCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use: "version", Short: "Print the version of this binary",
		Example: "  holdfast version\n  holdfast version --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := thisBuild()
			if output == asJSON {
				text, err := json.Marshal(b)
				if err != nil {
					return err
				}
				return printJSON(cmd.OutOrStdout(), text)
			}
			if output != asTable {
				return usagef("--output is %q; it is table or json.", output)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "holdfast %s %s %s\n", b.Version, b.Go, b.Platform)
			return err
		},
	}
	c.Flags().StringVarP(&output, "output", "o", asTable, "`FORMAT`: table or json")
	fixed(c, "output", asTable, asJSON)
	return c
}
