package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/client"
)

func (a *app) policy() *cobra.Command {
	return noun("policy", "Make and see backup policies",
		`A policy says when VMs are backed up and how long their points are kept. A new
vault has DefaultPolicy and EnhancedPolicy.`,
		a.policyList(), a.policyShow(), a.policyCreate(), a.policyPreview(), a.policyDelete())
}

func (a *app) policyList() *cobra.Command {
	var vault string
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the policies of a vault",
		Example: "  holdfast policy list",
		Args:    cobra.NoArgs,
		RunE: a.verb(func(s *session, _ []string) error {
			v, err := s.theVault(s.cmd.Context(), vault)
			if err != nil {
				return err
			}
			policies, err := s.client.Policies(s.cmd.Context(), v.Ref())
			if err != nil {
				return err
			}
			var rows []resource
			for _, p := range policies {
				rows = append(rows, resource{p.Raw, []string{p.Name, schedule(p), strings.Join(retention(p.VM), "; "), protects(p)}})
			}
			return s.list("NAME,SCHEDULE,RETENTION,VMS", rows)
		}),
	}
	a.vaultFlag(c, &vault)
	return c
}

func protects(p client.Policy) string {
	if p.VM == nil || p.VM.ProtectedItemsCount == nil {
		return ""
	}
	return fmt.Sprint(*p.VM.ProtectedItemsCount)
}

func (a *app) policyShow() *cobra.Command {
	var vault string
	c := &cobra.Command{
		Use: "show NAME", Short: "Show a policy",
		Example: `  holdfast policy show DefaultPolicy
  holdfast policy show DefaultPolicy --output json > policy.json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: first(a.policyNames()),
		RunE: a.verb(func(s *session, args []string) error {
			v, err := s.theVault(s.cmd.Context(), vault)
			if err != nil {
				return err
			}
			p, err := s.client.Policy(s.cmd.Context(), v.Ref(), args[0])
			if err != nil {
				return err
			}
			return s.showPolicy(p)
		}),
	}
	a.vaultFlag(c, &vault)
	return c
}

func (s *session) showPolicy(p client.Policy) error {
	facts := []fact{{"name", p.Name}, {"id", p.ID}, {"schedule", schedule(p)}}
	for _, r := range retention(p.VM) {
		facts = append(facts, fact{"keep", r})
	}
	return s.show(p.Raw, append(facts, fact{"instant restore", instant(p.VM)}, fact{"consistency", consistency(p.VM)}, fact{"protects", protects(p)}))
}

func (a *app) policyCreate() *cobra.Command {
	var vault, file string
	var replace bool
	var form policyForm
	c := &cobra.Command{
		Use: "create NAME (--daily HH:MM | --weekly DAYS@HH:MM | --hourly N@HH:MM/HOURS | --file FILE)", Short: "Make a policy",
		DisableFlagsInUseLine: true,
		Long: `Make a policy from a schedule and from how long points are kept, or from a file
with an ARM policy (holdfast policy show --output json prints one).

Schedule, one of:
  --daily 02:00              every day
  --weekly Sun,Wed@02:00     on these days
  --hourly 4@08:00/12        every 4 hours from 8:00 for 12 hours
These are standard time in --time-zone all year, or with --follow-daylight-saving
(a server with --limits extended) what the clocks there show: a time that they
skip comes as much later as they were put forward, one that they show twice is
the first.

Retention; a point is kept while any of them holds it:
  --retain-days 30           every point (with --daily and --hourly)
  --retain-weeks 12          one a week; 12@Sun says of which day
  --retain-months 12         one a month; 12@first-Sun or 12@1,15,last says which
  --retain-years 10          one a year; 10@Jan/first-Sun or 10@Jan,Jul/1 says which

Left out, the day is Sunday or the first of --weekly, the week of a month its
first, the month January.`,
		Example: `  holdfast policy create nightly --daily 02:00 --retain-days 30 --retain-months 12
  holdfast policy create weekly --weekly Sat@23:00 --retain-weeks 8 --retain-years 7@Jan/first-Sat
  holdfast policy create copy --file policy.json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.verb(func(s *session, args []string) error {
			p, err := form.read(s.cmd.InOrStdin(), file)
			if err != nil {
				return err
			}
			v, err := s.theVault(s.cmd.Context(), vault)
			if err != nil {
				return err
			}
			if err := s.mayReplace(v, args[0], replace); err != nil {
				return err
			}
			made, err := s.client.PutPolicy(s.cmd.Context(), v.Ref(), args[0], p)
			if err != nil {
				return err
			}
			return s.showPolicy(made)
		}),
	}
	a.vaultFlag(c, &vault)
	form.addFlags(c)
	c.Flags().StringVar(&file, "file", "", "`FILE` with an ARM policy in JSON; - is standard input")
	c.Flags().BoolVar(&replace, "replace", false, "change the policy if there is one of that name")
	must(c.MarkFlagFilename("file", "json"))
	c.MarkFlagsOneRequired("daily", "weekly", "hourly", "file")
	exclusiveForm(c)
	return c
}

// exclusiveForm lets a policy be given in one way only.
func exclusiveForm(c *cobra.Command) {
	for _, other := range formFlags {
		c.MarkFlagsMutuallyExclusive("file", other)
	}
	c.MarkFlagsMutuallyExclusive("daily", "weekly", "hourly")
}

// mayReplace refuses to change a policy that is there, unless that is meant:
// every VM that it protects would follow the new one.
func (s *session) mayReplace(v client.Vault, name string, replace bool) error {
	if replace {
		return nil
	}
	_, err := s.client.Policy(s.cmd.Context(), v.Ref(), name)
	switch {
	case err == nil:
		return &client.Error{Reason: client.Refused, Code: "PolicyExists", Target: name, Message: "The policy " + name + " is there already.",
			Hint: "Say --replace to change it for every VM that it protects."}
	case client.ReasonOf(err) == client.NotFound:
		return nil
	}
	return err
}

// policyLimit is the largest policy file that is read, bytes.
const policyLimit = 1 << 20

// readFile reads the file of --file, "-" for standard input, up to a limit in bytes.
func readFile(stdin io.Reader, file string, limit int64) ([]byte, error) {
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return nil, usagef("--file: %v", err)
		}
		defer opened.Close()
		stdin = opened
	}
	b, err := io.ReadAll(io.LimitReader(stdin, limit))
	if err != nil {
		return nil, usagef("--file: %v", err)
	}
	return b, nil
}

// read is the policy of a file, or without one that of the flags.
func (f *policyForm) read(stdin io.Reader, file string) (json.RawMessage, error) {
	if file == "" {
		return f.properties()
	}
	b, err := readFile(stdin, file, policyLimit)
	if err != nil {
		return nil, err
	}
	p, err := client.ParsePolicy(b)
	if err != nil {
		return nil, usagef("--file %s is not an ARM policy for VMs: %v", file, err)
	}
	return p, nil
}

func (a *app) policyDelete() *cobra.Command {
	var vault string
	c := &cobra.Command{
		Use: "delete NAME", Aliases: []string{"rm"}, Short: "Delete a policy that protects nothing",
		Example:           "  holdfast policy delete nightly",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: first(a.policyNames()),
		RunE: a.verb(func(s *session, args []string) error {
			v, err := s.theVault(s.cmd.Context(), vault)
			if err != nil {
				return err
			}
			// Deleting what is not there succeeds in ARM; a user wants to know.
			if _, err := s.client.Policy(s.cmd.Context(), v.Ref(), args[0]); err != nil {
				return err
			}
			if err := s.client.DeletePolicy(s.cmd.Context(), v.Ref(), args[0]); err != nil {
				return err
			}
			s.note("policy %s is deleted", args[0])
			return nil
		}),
	}
	a.vaultFlag(c, &vault)
	return c
}
