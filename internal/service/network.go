package service

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/resource"
)

// networkRules is the member of a vault's properties that says from where it is
// used, in the form that Azure's storage accounts and key vaults have it:
//
//	{"defaultAction": "Deny", "ipRules": [{"value": "192.0.2.0/24"}]}
const networkRules = "networkAcls"

// parseNetworks reads the networks of a vault's rules. An address alone is a
// network of one.
func parseNetworks(settings map[string]any) ([]netip.Prefix, error) {
	v, ok := find(settings, networkRules+".ipRules")
	if !ok {
		return nil, nil
	}
	rules, ok := v.([]any)
	if !ok {
		return nil, holdfast.Errorf(holdfast.Invalid, "properties.networkAcls.ipRules", "properties.networkAcls.ipRules is a list of objects with a value such as 192.0.2.0/24.")
	}
	var all []netip.Prefix
	for i, rule := range rules {
		m, _ := rule.(map[string]any)
		text, _ := m["value"].(string)
		if !strings.Contains(text, "/") {
			if a, err := netip.ParseAddr(text); err == nil {
				text = fmt.Sprintf("%s/%d", text, a.BitLen())
			}
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			member := fmt.Sprintf("properties.networkAcls.ipRules[%d].value", i)
			return nil, holdfast.Errorf(holdfast.Invalid, member, "%s is %v; it is an address or a network such as 192.0.2.0/24.", member, m["value"])
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

// Admits says whether what is in a vault may be used from an address (NET-13).
// The machine itself is always inside. A vault that is not there admits: its
// absence is told elsewhere.
func (s *Service) Admits(ctx context.Context, vault string, from netip.Addr) (bool, error) {
	v, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Vault, error) { return findVault(tx, vault) })
	if err != nil {
		if holdfast.KindOf(err) == holdfast.NotFound {
			err = nil
		}
		return true, err
	}
	if v.Setting("publicNetworkAccess") != "Disabled" && v.Setting(networkRules, "defaultAction") != "Deny" {
		return true, nil
	}
	from = from.Unmap()
	if from.IsLoopback() {
		return true, nil
	}
	networks, err := parseNetworks(v.AllSettings())
	if err != nil {
		return false, err
	}
	for _, n := range networks {
		if n.Contains(from) {
			return true, nil
		}
	}
	return false, nil
}
