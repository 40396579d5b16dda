package repository

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/disk"
	"holdfast/internal/repository"
)

func pointsCommand() *cobra.Command {
	var f common
	var series string
	c := &cobra.Command{
		Use:   "points URL",
		Short: "List the points",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return f.open(c.Context(), args[0], func(r *repository.Repository) error {
				points, err := r.Points(c.Context(), series)
				if err != nil {
					return err
				}
				return f.print(c, points, func(w io.Writer) { pointTable(w, points) })
			})
		},
	}
	f.add(c)
	c.Flags().StringVar(&series, "series", "", "only the points of this `SERIES`")
	return c
}

func pointTable(w io.Writer, points []repository.Point) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "POINT\tSERIES\tTIME\tDISK\tSIZE\tNEW\tSTORED")
	for _, p := range points {
		for _, d := range p.Disks {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.ID, p.Series, p.Time.Local().Format(time.DateTime), d.Name,
				human(d.Size), human(d.Stats.New), human(d.Stats.Stored))
		}
	}
	_ = t.Flush() // see facts
}

func infoCommand() *cobra.Command {
	var f common
	c := &cobra.Command{
		Use:   "info URL",
		Short: "Say what a repository is",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return f.open(c.Context(), args[0], func(r *repository.Repository) error {
				in, err := r.Info(c.Context())
				if err != nil {
					return err
				}
				return f.print(c, in, func(w io.Writer) {
					facts(w, "repository", in.ID, "format", in.Format, "made", in.Created.Local().Format(time.DateTime), "points", in.Points,
						"series", in.Series, "keys", in.Keys, "packs", in.Packs, "stored", human(in.Stored), "chunks and nodes", in.Blobs,
						"known damage", in.Damaged, "retention", retentionText(in), "open sessions", len(in.Sessions))
					for _, s := range in.Sessions {
						fmt.Fprintf(w, "session %s: %s, series %q, owner %q (%s)\n", s.Session, s.Kind, s.Series, s.Owner, s.Instance)
					}
				})
			})
		},
	}
	f.add(c)
	return c
}

func diffCommand() *cobra.Command {
	var f common
	var repo, name string
	c := &cobra.Command{
		Use:   "diff OLD NEW --repo URL",
		Short: "Say which ranges of a disk differ between two points",
		Args:  cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return f.open(c.Context(), repo, func(r *repository.Repository) error {
				_, a, err := findDisk(c.Context(), r, args[0], name)
				if err != nil {
					return err
				}
				_, b, err := findDisk(c.Context(), r, args[1], name)
				if err != nil {
					return err
				}
				ranges, total := []repository.Range{}, int64(0)
				for e, err := range r.Diff(c.Context(), *a, *b) {
					if err != nil {
						return err
					}
					if e.Kind != disk.Same {
						ranges, total = append(ranges, repository.Range{Offset: e.Offset, Length: e.Length}), total+e.Length
					}
				}
				return f.print(c, ranges, func(w io.Writer) {
					for _, x := range ranges {
						fmt.Fprintf(w, "%d\t%d\n", x.Offset, x.Length)
					}
					fmt.Fprintf(c.ErrOrStderr(), "%s, %s differ\n", plural(len(ranges), "range"), human(total))
				})
			})
		},
	}
	f.add(c)
	c.Flags().StringVar(&repo, "repo", "", "`URL` of the repository")
	c.Flags().StringVar(&name, "disk", "", "`NAME` of the disk (default: the only one)")
	_ = c.MarkFlagRequired("repo")
	return c
}

func dumpCommand() *cobra.Command {
	var f common
	c := &cobra.Command{
		Use:   "dump URL OBJECT",
		Short: "Show one object of the store opened, as JSON",
		Long: `Show one object of the store opened, as JSON: config.a, keys/…, ledger/…, state/…,
points/…, packs/… or index/…. Key material is never shown.`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return f.open(c.Context(), args[0], func(r *repository.Repository) error {
				b, err := r.Dump(c.Context(), args[1])
				if err != nil {
					return err
				}
				e := json.NewEncoder(c.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(b)
			})
		},
	}
	f.add(c)
	return c
}
