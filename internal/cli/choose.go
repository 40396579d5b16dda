package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"

	"holdfast/internal/client"
)

// name is how a user names something that lives in a resource group: NAME,
// GROUP/NAME or an ARM id.
type name struct{ group, name string }

func parseName(what, s string) (name, error) {
	if strings.HasPrefix(s, "/") {
		id, err := arm.ParseResourceID(s)
		if err != nil {
			return name{}, usagef("%s %q is not an ARM id.", what, s)
		}
		return name{id.ResourceGroupName, id.Name}, nil
	}
	group, rest, ok := strings.Cut(s, "/")
	if !ok {
		group, rest = "", s
	}
	if rest == "" || strings.Contains(rest, "/") || ok && group == "" {
		return name{}, usagef("%s %q is not NAME, GROUP/NAME or an ARM id.", what, s)
	}
	return name{group, rest}, nil
}

func (n name) matches(group, name string) bool {
	return strings.EqualFold(n.name, name) && (n.group == "" || strings.EqualFold(n.group, group))
}

func (n name) String() string {
	if n.group == "" {
		return n.name
	}
	return n.group + "/" + n.name
}

func notFound(hint, format string, args ...any) error {
	return &client.Error{Reason: client.NotFound, Code: "NotFound", Message: fmt.Sprintf(format, args...), Hint: hint}
}

// hintForbidden adds to an error what helps a caller whose role is on less than
// the subscription, and who so may not list it.
func hintForbidden(err error, hint string) error {
	var e *client.Error
	if errors.As(err, &e) && e.Status == http.StatusForbidden && e.Hint == "" {
		e.Hint = hint
	}
	return err
}

// theVault is the vault that --vault names, or the only one.
func (s *session) theVault(ctx context.Context, flag string) (client.Vault, error) {
	vaults, err := s.vaults(ctx, flag)
	if err != nil {
		return client.Vault{}, err
	}
	if len(vaults) > 1 {
		var names []string
		for _, v := range vaults {
			names = append(names, v.Group+"/"+v.Name)
		}
		return client.Vault{}, usagef("which vault? There are %s: choose with --vault.", strings.Join(names, ", "))
	}
	if flag == "" {
		s.note("using vault %s, the only one", vaults[0].Name)
	}
	return vaults[0], nil
}

// vaults are those that --vault names, at least one; without it all.
func (s *session) vaults(ctx context.Context, flag string) ([]client.Vault, error) {
	if flag == "" {
		all, err := s.client.Vaults(ctx, "")
		err = hintForbidden(err, "Name the vault with its group: --vault GROUP/NAME.")
		if err == nil && len(all) == 0 {
			err = notFound("Make one: holdfast vault create NAME.", "There is no vault.")
		}
		return all, err
	}
	n, err := parseName("--vault", flag)
	if err != nil {
		return nil, err
	}
	if n.group != "" {
		v, err := s.client.Vault(ctx, client.VaultRef{Group: n.group, Name: n.name})
		return []client.Vault{v}, err
	}
	all, err := s.client.Vaults(ctx, "")
	if err != nil {
		return nil, hintForbidden(err, "Name the vault with its group: --vault GROUP/NAME.")
	}
	var found []client.Vault
	for _, v := range all {
		if n.matches(v.Group, v.Name) {
			found = append(found, v)
		}
	}
	if len(found) == 0 {
		return nil, notFound("See what there is: holdfast vault list.", "There is no vault %s.", n)
	}
	return found, nil
}

// theSite is the site that a flag names, or the only one.
func (s *session) theSite(ctx context.Context, flag string) (client.Site, error) {
	if flag != "" {
		return s.client.Site(ctx, flag)
	}
	sites, err := s.client.Sites(ctx)
	if err != nil {
		return client.Site{}, err
	}
	switch len(sites) {
	case 0:
		return client.Site{}, notFound("Register one: holdfast site register NAME.", "There is no site.")
	case 1:
		s.note("using site %s, the only one", sites[0].Name)
		return s.client.Site(ctx, sites[0].Name)
	}
	var names []string
	for _, one := range sites {
		names = append(names, one.Name)
	}
	return client.Site{}, usagef("which site? There are %s: choose with --site.", strings.Join(names, ", "))
}

// theVM is the VM that an argument names.
func (s *session) theVM(ctx context.Context, arg string) (client.VM, error) {
	n, err := parseName("VM", arg)
	if err != nil {
		return client.VM{}, err
	}
	all, err := s.client.VMs(ctx, n.group)
	if err != nil {
		return client.VM{}, hintForbidden(err, "Name the VM with its group: GROUP/"+n.name+".")
	}
	var found []client.VM
	for _, vm := range all {
		if n.matches(vm.Group, vm.Name) {
			found = append(found, vm)
		}
	}
	switch len(found) {
	case 0:
		return client.VM{}, notFound("See what there is: holdfast vm list.", "There is no VM %s.", n)
	case 1:
		return found[0], nil
	}
	var names []string
	for _, vm := range found {
		names = append(names, vm.Group+"/"+vm.Name)
	}
	return client.VM{}, usagef("which VM? There are %s.", strings.Join(names, ", "))
}

// theItem is the protected VM that an argument names, in the vault that --vault
// names or in the only one that protects it.
func (s *session) theItem(ctx context.Context, vaultFlag, arg string) (client.Vault, client.Item, error) {
	n, err := parseName("VM", arg)
	if err != nil {
		return client.Vault{}, client.Item{}, err
	}
	vaults, err := s.vaults(ctx, vaultFlag)
	if err != nil {
		return client.Vault{}, client.Item{}, err
	}
	type pair struct {
		vault client.Vault
		item  client.Item
	}
	var found []pair
	var names []string
	for _, v := range vaults {
		items, err := s.client.Items(ctx, v.Ref())
		if err != nil {
			return client.Vault{}, client.Item{}, err
		}
		for _, i := range items {
			if n.matches(i.Group(), i.VM) {
				found = append(found, pair{v, i})
				names = append(names, fmt.Sprintf("%s/%s in vault %s/%s", i.Group(), i.VM, v.Group, v.Name))
			}
		}
	}
	switch {
	case len(found) == 0:
		return client.Vault{}, client.Item{}, notFound("Protect it: holdfast protect start "+n.String()+". See also: holdfast vm list.",
			"The VM %s is not protected in %s.", n, vaultNames(vaults))
	case len(found) > 1:
		return client.Vault{}, client.Item{}, usagef("which VM? There are %s.", strings.Join(names, ", "))
	case vaultFlag == "":
		s.note("using vault %s", found[0].vault.Name)
	}
	return found[0].vault, found[0].item, nil
}

func vaultNames(vaults []client.Vault) string {
	if len(vaults) == 1 {
		return "vault " + vaults[0].Name
	}
	return "any vault"
}

// The words for points that need no name.
const (
	latest = "latest"
	oldest = "oldest"
)

// thePoint is the name of the point of an item that --point names.
func (s *session) thePoint(ctx context.Context, i client.Item, flag string) (string, error) {
	if flag != latest && flag != oldest {
		return flag, nil
	}
	points, err := s.client.Points(ctx, i.Ref)
	if err != nil {
		return "", err
	}
	if len(points) == 0 {
		return "", notFound("Make one: holdfast backup "+i.VM+".", "The VM %s has no point yet.", i.VM)
	}
	chosen := points[0]
	for _, p := range points[1:] {
		if flag == latest && p.Time.After(chosen.Time) || flag == oldest && p.Time.Before(chosen.Time) {
			chosen = p
		}
	}
	s.note("using point %s of %s", chosen.Name, when(chosen.Time))
	return chosen.Name, nil
}

// theJob is the job that an argument names, in the vault that --vault names or
// in the one that has it.
func (s *session) theJob(ctx context.Context, vaultFlag, id string) (client.Job, error) {
	vaults, err := s.vaults(ctx, vaultFlag)
	if err != nil {
		return client.Job{}, err
	}
	for _, v := range vaults {
		job, err := s.client.Job(ctx, v.Ref(), id)
		if err == nil || client.ReasonOf(err) != client.NotFound || len(vaults) == 1 {
			return job, err
		}
	}
	return client.Job{}, notFound("See what there is: holdfast job list.", "There is no job %s.", id)
}
