package repository

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/repository"
)

func checkCommand() *cobra.Command {
	var f common
	var repair bool
	c := &cobra.Command{
		Use:   "check URL",
		Short: "Say whether you can sleep well",
		Long: `Look at everything but the content of chunks: both copies of config and keys,
the ledger, the index, that every pack is there, every point's body and tree.
verify reads the content too. Exit code 5: a point has lost
something, or may be missing.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return f.open(c.Context(), args[0], func(r *repository.Repository) error {
				m := f.newMeter(c, "check")
				rep, err := r.Check(c.Context(), repository.CheckOptions{Repair: repair, Progress: m.steps})
				m.end()
				if err != nil {
					return err
				}
				if err := f.print(c, rep, func(w io.Writer) { tell(w, rep) }); err != nil {
					return err
				}
				return uneasy(rep)
			})
		},
	}
	f.add(c)
	c.Flags().BoolVar(&repair, "repair", false, "write anew what can be made from what is whole")
	return c
}

// unsettled says that something found may have cost a point, and is not put right.
func unsettled(rep repository.Report) bool {
	return slices.ContainsFunc(rep.Findings, func(f repository.Finding) bool { return !f.Harmless && !f.Repaired && !f.Unread })
}

// uneasy is the error of a report that lets nobody sleep well.
func uneasy(rep repository.Report) error {
	switch {
	case rep.Lost:
		return exitError{errors.New("points have lost content"), exitFailed}
	case unsettled(rep):
		return exitError{errors.New("a point may be missing"), exitFailed}
	}
	return nil
}

// tell says in plain words what a check found.
func tell(w io.Writer, rep repository.Report) {
	fmt.Fprintf(w, "%s in %d series; %s, %s, %d chunks and nodes.\n", plural(rep.Points, "point"), rep.Series, plural(rep.Packs, "pack"), human(rep.Bytes), rep.Blobs)
	for _, f := range rep.Findings {
		fmt.Fprintf(w, "- %s: %s", f.Artifact, f.Problem)
		switch {
		case f.Repaired:
			fmt.Fprint(w, " (repaired)")
		case f.Unread:
			fmt.Fprint(w, " (could not be read; that says nothing of what it holds)")
		case f.Harmless:
			fmt.Fprint(w, " (nothing is lost)")
		}
		fmt.Fprintln(w)
		tellHurt(w, f.Points)
	}
	if rep.Orphans > 0 {
		fmt.Fprintf(w, "%d packs were left by work that was broken off; collect frees them.\n", rep.Orphans)
	}
	for _, name := range rep.Unnamed {
		fmt.Fprintf(w, "%s is a whole point that the ledger does not name: of work that was broken off, or its records are lost. Where a point is missing, don't collect.\n", name)
	}
	for _, s := range rep.Sessions {
		fmt.Fprintf(w, "at work: %s\n", s)
	}
	switch {
	case rep.Lost:
		fmt.Fprintln(w, "You cannot sleep well: the points above have lost content. The next backup stores again what its disk still has.")
	case unsettled(rep):
		fmt.Fprintln(w, "You cannot sleep well: a point may be missing, see above. Compare `points` with what there should be.")
	case len(rep.Unnamed) > 0:
		fmt.Fprintln(w, "All that the ledger names is whole. Compare `points` with what there should be before you sleep well.")
	case len(rep.Findings) > 0:
		fmt.Fprintln(w, "You can sleep well: nothing is lost. `check --repair` puts right what was found.")
	default:
		fmt.Fprintln(w, "You can sleep well: all that was looked at is whole. `verify` reads the content too.")
	}
}

func tellHurt(w io.Writer, hurts []repository.Hurt) {
	for _, h := range hurts {
		if h.Attributes {
			fmt.Fprintf(w, "    point %s: its configuration is lost\n", h.Point)
		}
		for _, x := range h.Ranges {
			fmt.Fprintf(w, "    point %s, disk %s: bytes %d to %d\n", h.Point, h.Disk, x.Offset, x.Offset+x.Length)
		}
	}
}

func verifyCommand() *cobra.Command {
	var f common
	var opt repository.VerifyOptions
	var rate string
	c := &cobra.Command{
		Use:   "verify URL",
		Short: "Read everything and prove it",
		Long: `Read every pack and prove each chunk and node by its id. What is damaged is
noted, so that the next backup stores it again. Exit code 5: something is damaged.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			n, err := bytesFlag("read-rate", rate)
			if err != nil {
				return err
			}
			opt.ReadRate = n
			return f.open(c.Context(), args[0], func(r *repository.Repository) error {
				m := f.newMeter(c, "verify")
				opt.Progress = m.bytes
				st, err := r.Verify(c.Context(), opt)
				m.end()
				if err != nil && !errors.Is(err, repository.ErrDamaged) {
					return err
				}
				if e := f.print(c, st, func(w io.Writer) { tellVerify(w, st) }); e != nil {
					return e
				}
				if err != nil {
					return exitError{fmt.Errorf("damage in %s", plural(len(st.Damage), "object")), exitFailed}
				}
				if len(st.Unread) > 0 {
					return exitError{fmt.Errorf("%s could not be read", plural(len(st.Unread), "pack")), 1}
				}
				return nil
			})
		},
	}
	f.add(c)
	c.Flags().BoolVar(&opt.ChecksumsOnly, "checksums", false, "compare checksums of what is stored and open nothing")
	c.Flags().StringVar(&rate, "read-rate", "", "read at most `BYTES` a second, such as 100MB")
	c.Flags().StringVar(&opt.Resume, "resume", "", "`FILE` that keeps what was proved, to go on after a break")
	return c
}

func tellVerify(w io.Writer, st repository.VerifyStats) {
	fmt.Fprintf(w, "%s, %s, %d chunks and nodes proved", plural(st.Packs, "pack"), human(st.Bytes), st.Blobs)
	if st.Skipped > 0 {
		fmt.Fprintf(w, "; %d packs were proved before", st.Skipped)
	}
	fmt.Fprintln(w, ".")
	for _, d := range st.Damage {
		fmt.Fprintf(w, "- %s: %v\n", d.Artifact, d.Cause)
		if len(d.Points) == 0 {
			fmt.Fprintln(w, "    no point has lost anything")
		}
		tellHurt(w, d.Points)
	}
	for _, u := range st.Unread {
		fmt.Fprintf(w, "- %s could not be read; that says nothing of what it holds\n", u)
	}
}

func collectCommand() *cobra.Command {
	var f common
	var opt repository.CollectOptions
	c := &cobra.Command{
		Use:   "collect URL",
		Short: "Free what no point needs",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return f.open(c.Context(), args[0], func(r *repository.Repository) error {
				m := f.newMeter(c, "collect")
				opt.Progress = m.steps
				st, err := r.Collect(c.Context(), opt)
				m.end()
				if err != nil {
					return err
				}
				return f.print(c, st, func(w io.Writer) {
					fmt.Fprintf(w, "freed %s in %s; moved %s; %d chunks and nodes are needed, %d are not.\n", human(st.Freed), plural(st.Deleted, "pack"),
						human(st.Moved), st.Live, st.Dead)
					for _, s := range st.Waiting {
						fmt.Fprintf(w, "session %s began before and is at work: what it may need is freed by the next collection.\n", s)
					}
					if st.Held > 0 {
						fmt.Fprintf(w, "The store's retention still holds %s; a later collect takes them.\n", plural(st.Held, "pack"))
					}
				})
			})
		},
	}
	f.add(c)
	c.Flags().Float64Var(&opt.Thin, "thin", 0.5, "write packs anew of which less than this `SHARE` is needed")
	return c
}

func recoverCommand() *cobra.Command {
	var f common
	c := &cobra.Command{
		Use:   "recover URL",
		Short: "Bring back a repository that doesn't open any more",
		Long: `Rebuild what was lost from what is left: the config from the keys, the ledger from
points and packs, the index from the packs. Nothing else may use the repository
meanwhile. A point that was deleted may come back; delete it again.
Exit code 5: not everything could be brought back.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			key, err := f.key()
			if err != nil {
				return err
			}
			store, err := openStore(c.Context(), args[0], false)
			if err != nil {
				return explain(err)
			}
			r, rec, err := repository.Recover(c.Context(), store, key, options())
			if err != nil {
				return explain(err)
			}
			defer func() { _ = r.Close() }() // what it would lose are temporary files
			err = f.print(c, rec, func(w io.Writer) {
				if rec.Config {
					fmt.Fprintln(w, "The config was rebuilt.")
				}
				if rec.Ledger {
					fmt.Fprintf(w, "The ledger was rebuilt from %d packs.\n", rec.Packs)
				}
				for _, u := range rec.Unreadable {
					fmt.Fprintf(w, "- %s is of no use\n", u)
				}
				tell(w, rec.Check)
			})
			if err == nil {
				err = uneasy(rec.Check)
			}
			if err == nil && len(rec.Unreadable) > 0 {
				err = exitError{errors.New("what is named above could not be used: points that need it are lost"), exitFailed}
			}
			return err
		},
	}
	f.add(c)
	return c
}

func retentionCommand() *cobra.Command {
	var f common
	var days int
	c := &cobra.Command{
		Use:   "retention URL [--days N]",
		Short: "Let the store itself refuse deletion for a while",
		Long: `Say for how long the store holds each object against deletion by anyone, or, with
--days, set it; 0 ends it for what is put from now on. The store must have object
lock (holdfast store check tells). What is there already is held from the next
collect on; let collect run at least eight times in the time given.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return f.open(c.Context(), args[0], func(r *repository.Repository) error {
				if c.Flags().Changed("days") {
					if days < 0 || days > 36500 {
						return exitError{fmt.Errorf("--days: %d is not between 0 and 36500", days), exitUsage}
					}
					if err := r.SetRetention(c.Context(), time.Duration(days)*24*time.Hour); err != nil {
						return err
					}
				}
				in, err := r.Info(c.Context())
				if err != nil {
					return err
				}
				return f.print(c, in, func(w io.Writer) { facts(w, "retention", retentionText(in)) })
			})
		},
	}
	f.add(c)
	c.Flags().IntVar(&days, "days", 0, "hold what is put for `N` days")
	return c
}

// retentionText says what the store is asked to hold.
func retentionText(in repository.Info) string {
	if in.Retention == 0 {
		return "none"
	}
	held := "what was there before is held from the next collect on"
	if !in.Held.IsZero() {
		held = "all that is needed is held until " + in.Held.Local().Format(time.DateTime) + " or longer"
	}
	return fmt.Sprintf("%s; %s", time.Duration(in.Retention)*time.Second, held)
}
