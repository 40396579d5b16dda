package authz_test

import (
	"testing"

	"holdfast/internal/authz"
)

const (
	sub   = "/subscriptions/S"
	group = sub + "/resourceGroups/G"
	vault = group + "/providers/Microsoft.RecoveryServices/vaults/v"
)

func TestAllowed(t *testing.T) {
	t.Parallel()
	const item = "Microsoft.RecoveryServices/vaults/backupFabrics/protectionContainers/protectedItems/"
	for _, c := range []struct {
		role, scope, action, resource string
		want                          bool
	}{
		{authz.Owner, sub, "Microsoft.Authorization/roleAssignments/write", sub, true},
		{authz.Contributor, sub, "Microsoft.Authorization/roleAssignments/write", sub, false},
		{authz.Contributor, sub, "Microsoft.RecoveryServices/vaults/delete", vault, true},
		{authz.Reader, sub, "Microsoft.RecoveryServices/vaults/read", vault, true},
		{authz.Reader, sub, "Microsoft.RecoveryServices/vaults/write", vault, false},
		{authz.BackupContributor, group, "Microsoft.RecoveryServices/vaults/delete", vault, false},
		{authz.BackupContributor, group, item + "delete", vault + "/x/y", true},
		{authz.BackupOperator, vault, item + "backup/action", vault + "/backupFabrics/Azure", true},
		{authz.BackupOperator, vault, item + "delete", vault + "/backupFabrics/Azure", false},
		{authz.BackupOperator, vault, "microsoft.recoveryservices/VAULTS/backuppolicies/read", vault + "/backupPolicies/p", true},
		{authz.BackupReader, vault, item + "recoveryPoints/restore/action", vault, false},
		{authz.Owner, group, "Microsoft.RecoveryServices/vaults/read", sub + "/resourceGroups/Other/providers/x/y/z", false},
		{authz.Owner, group, "Microsoft.RecoveryServices/vaults/read", sub + "/resourceGroups/G2", false},
		{"no-such-role", sub, "Microsoft.RecoveryServices/vaults/read", vault, false},
	} {
		role, _ := authz.Find(c.role)
		if got := authz.Allowed([]authz.Grant{{Scope: c.scope, Role: role}}, c.action, c.resource); got != c.want {
			t.Errorf("%s at %s, %s on %s: %v", c.role, c.scope, c.action, c.resource, got)
		}
	}
	if authz.Allowed(nil, "a/read", sub) {
		t.Error("no grant allows something")
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, action string
		want            bool
	}{
		{"*", "a/b/c", true}, {"*/read", "a/b/read", true}, {"*/read", "a/reader", false}, {"a/*/read", "a/b/c/read", true},
		{"a/*/read", "a/read", false}, {"a/b", "a/b", true}, {"a/b", "a/bc", false}, {"a*a", "a", false},
	} {
		if got := (authz.Role{Actions: []string{c.pattern}}).Allows(c.action); got != c.want {
			t.Errorf("%s matches %s: %v", c.pattern, c.action, got)
		}
	}
}
