package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/client"
)

func (a *app) restoreTemplate() *cobra.Command {
	var definition bool
	c := a.jobVerb(&cobra.Command{
		Use: "template JOB", Short: "Print the template that makes a VM of restored disks",
		Long: `Print the ARM template that makes a VM of the disks which a restore job brought
back. It can be edited and deployed, with holdfast restore deploy or with
az deployment group create. With --definition print the libvirt domain XML of the
same VM instead, for virsh define. Both files are beside the disks, too.`,
		Example: `  holdfast restore template 5f0c2c9e-8a3d-4a43-9a5b-3a4a2f0d4c11 > web.json
  az deployment group create --resource-group lab --template-file web.json \
      --parameters virtualMachineName=web-2`,
	}, func(s *session, j client.Job) error {
		fetch := func() ([]byte, error) { return s.client.RestoredTemplate(s.cmd.Context(), j) }
		if definition {
			fetch = func() ([]byte, error) { return s.client.RestoredDefinition(s.cmd.Context(), j) }
		}
		b, err := fetch()
		if err != nil {
			return err
		}
		var text bytes.Buffer
		if json.Indent(&text, b, "", "  ") != nil { // a definition
			text.Write(b)
		}
		text.WriteByte('\n')
		_, err = s.out().Write(text.Bytes())
		return err
	})
	c.Flags().BoolVar(&definition, "definition", false, "print the libvirt domain XML")
	return c
}

func (a *app) restoreDeploy() *cobra.Command {
	var name, file, group string
	var set []string
	c := a.jobVerb(&cobra.Command{
		Use: "deploy JOB --name NEW", Short: "Make a VM of restored disks",
		Long: `Deploy the template of a restore job of disks: a VM is made of them. --set gives
the template's other parameters (virtualMachineSize, virtualNetworks, availabilitySetId,
hostId, zone, storageAccountType, start, the disks) as text or JSON. With --file an
edited template is deployed instead of the job's.`,
		Example: `  holdfast restore deploy 5f0c2c9e-8a3d-4a43-9a5b-3a4a2f0d4c11 --name web-2
  holdfast restore deploy 5f0c2c9e-8a3d-4a43-9a5b-3a4a2f0d4c11 --name web-2 \
      --set 'virtualMachineSize=4 vCPU, 8 GiB' --set 'virtualNetworks=["lab"]'`,
	}, func(s *session, j client.Job) error {
		parameters, err := parametersOf(set)
		if err != nil {
			return err
		}
		parameters["virtualMachineName"], _ = json.Marshal(name) // a string has a form in JSON
		ctx := s.cmd.Context()
		template, err := s.client.RestoredTemplate(ctx, j)
		if file != "" && err == nil {
			template, err = os.ReadFile(file)
		}
		if err != nil {
			return err
		}
		if !json.Valid(template) {
			return usagef("the template in %s is not JSON.", file)
		}
		if group == "" {
			group = groupOf(template, j)
		}
		if err := s.client.Deploy(ctx, group, "restore-"+name, template, parameters); err != nil {
			return err
		}
		s.note("made %s; see it with: holdfast vm show %s", name, shellQuote(name))
		return nil
	})
	c.Flags().StringVar(&name, "name", "", "`NAME` of the new VM (required)")
	c.Flags().StringArrayVar(&set, "set", nil, "`PARAMETER=VALUE` of the template (may be given several times)")
	c.Flags().StringVar(&file, "file", "", "deploy the edited template in this `FILE`")
	c.Flags().StringVar(&group, "resource-group", "", "`GROUP` of the site's VMs (default: that of the point's VM)")
	must(c.MarkFlagRequired("name"))
	must(c.MarkFlagFilename("file", "json"))
	fixed(c, "name")
	return c
}

// parametersOf reads NAME=VALUE, where a value is JSON or else a text.
func parametersOf(set []string) (map[string]json.RawMessage, error) {
	parameters := map[string]json.RawMessage{}
	for _, p := range set {
		key, text, ok := strings.Cut(p, "=")
		if !ok || key == "" {
			return nil, usagef("--set is %q; it is NAME=VALUE.", p)
		}
		parameters[key] = json.RawMessage(text)
		if !json.Valid(parameters[key]) {
			parameters[key], _ = json.Marshal(text) // a string has a form in JSON
		}
	}
	return parameters, nil
}

// groupOf is the resource group of the VM whose point a template is of: the point's
// id names it in the item's name (IaasVMContainer;iaasvmcontainerv2;GROUP;VM).
func groupOf(template []byte, j client.Job) string {
	_, rest, _ := strings.Cut(strings.ToLower(string(template)), "iaasvmcontainerv2;")
	group, _, ok := strings.Cut(rest, ";")
	if !ok {
		return j.Vault.Group
	}
	return group
}
