package cli

import (
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/client"
)

func (a *app) deployment() *cobra.Command {
	return noun("deployment", "Deploy ARM templates to resource groups",
		`A deployment makes the resources of an ARM template (vaults, policies, protected VMs,
disks, machines) in their order, as you.`,
		a.deploymentCreate(), a.deploymentList(), a.deploymentShow(), a.deploymentDelete())
}

func (s *session) showDeployment(d client.Deployment) error {
	facts := []fact{{"name", d.Name}, {"state", d.State}, {"at", when(d.At)}, {"failure", d.Failure}}
	for _, id := range d.Made {
		facts = append(facts, fact{"made", id})
	}
	for _, name := range slices.Sorted(maps.Keys(d.Outputs)) {
		facts = append(facts, fact{"output " + name, strings.Trim(string(d.Outputs[name]), `"`)})
	}
	return s.show(d.Raw, facts)
}

// templateLimit is the largest template that is read, bytes; the server takes no
// more in one request.
const templateLimit = 4 << 20

func (a *app) deploymentCreate() *cobra.Command {
	var group, file string
	var set []string
	c := &cobra.Command{
		Use: "create NAME --file FILE", Short: "Deploy a template, and wait until it has ended",
		Example: `  holdfast deployment create vaults --file vaults.json --resource-group prod --set name=safe
  holdfast deployment create vaults --file - < vaults.json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.verb(func(s *session, args []string) error {
			ctx := s.cmd.Context()
			template, err := readTemplate(s.cmd.InOrStdin(), file)
			if err != nil {
				return err
			}
			parameters, err := parametersOf(set)
			if err != nil {
				return err
			}
			if group, err = s.theGroup(ctx, group); err != nil {
				return err
			}
			if err := s.client.Deploy(ctx, group, args[0], template, parameters); err != nil {
				return err
			}
			d, err := s.client.Deployment(ctx, group, args[0])
			if err != nil {
				return err
			}
			return s.showDeployment(d)
		}),
	}
	a.groupFlag(c, &group)
	c.Flags().StringVar(&file, "file", "", "`FILE` with the template in JSON; - is standard input (required)")
	c.Flags().StringArrayVar(&set, "set", nil, "`PARAMETER=VALUE` of the template, as text or JSON (may be given several times)")
	must(c.MarkFlagRequired("file"))
	must(c.MarkFlagFilename("file", "json"))
	return c
}

// readTemplate reads a template from a file or from standard input.
func readTemplate(stdin io.Reader, file string) (json.RawMessage, error) {
	b, err := readFile(stdin, file, templateLimit)
	if err != nil {
		return nil, err
	}
	if !json.Valid(b) {
		return nil, usagef("--file %s is not JSON; a template with comments is deployed by az deployment group create.", file)
	}
	return b, nil
}

func (a *app) deploymentList() *cobra.Command {
	var group string
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the deployments to a resource group",
		Example: "  holdfast deployment list --resource-group prod",
		Args:    cobra.NoArgs,
		RunE: a.verb(func(s *session, _ []string) error {
			group, err := s.theGroup(s.cmd.Context(), group)
			if err != nil {
				return err
			}
			all, err := s.client.Deployments(s.cmd.Context(), group)
			if err != nil {
				return err
			}
			var rows []resource
			for _, d := range all {
				rows = append(rows, resource{d.Raw, []string{d.Name, d.State, when(d.At), d.Failure}})
			}
			return s.list("NAME,STATE,AT,FAILURE", rows)
		}),
	}
	a.groupFlag(c, &group)
	return c
}

func (a *app) deploymentShow() *cobra.Command {
	var group string
	c := &cobra.Command{
		Use: "show NAME", Short: "Show a deployment, and what it made",
		Example:           "  holdfast deployment show vaults --resource-group prod",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.verb(func(s *session, args []string) error {
			group, err := s.theGroup(s.cmd.Context(), group)
			if err != nil {
				return err
			}
			d, err := s.client.Deployment(s.cmd.Context(), group, args[0])
			if err != nil {
				return err
			}
			return s.showDeployment(d)
		}),
	}
	a.groupFlag(c, &group)
	return c
}

func (a *app) deploymentDelete() *cobra.Command {
	var group string
	c := &cobra.Command{
		Use: "delete NAME", Aliases: []string{"rm"}, Short: "Forget a deployment; what it made stays",
		Example:           "  holdfast deployment delete vaults --resource-group prod",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.verb(func(s *session, args []string) error {
			ctx := s.cmd.Context()
			group, err := s.theGroup(ctx, group)
			if err != nil {
				return err
			}
			if _, err := s.client.Deployment(ctx, group, args[0]); err != nil {
				return err
			}
			if err := s.client.DeleteDeployment(ctx, group, args[0]); err != nil {
				return err
			}
			s.note("deployment %s is forgotten", args[0])
			return nil
		}),
	}
	a.groupFlag(c, &group)
	return c
}
