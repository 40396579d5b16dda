package server

import (
	"net/http"
	"strings"

	sdk "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/recoveryservices/armrecoveryservicesbackup/v4"

	"holdfast"
	"holdfast/internal/api/backup"
	"holdfast/internal/resource"
	"holdfast/internal/service"
)

const (
	locationPath  = subPath + "/providers/Microsoft.RecoveryServices/locations/{location}"
	fabricPath    = vaultPath + "/backupFabrics/{fabric}"
	containerPath = fabricPath + "/protectionContainers/{container}"
	itemPath      = containerPath + "/protectedItems/{item}"
	pointPath     = itemPath + "/recoveryPoints"
	fabricType    = vaultType + "/backupFabrics"
	containerType = fabricType + "/protectionContainers"
	itemType      = containerType + "/protectedItems"
)

// Discovery, containers, protected items, recovery points, backup and restore.
var itemRoutes = []route{
	post(fabricPath+"/refreshContainers", fabricType+"/refreshContainers/action", (*Server).refresh),
	get(fabricPath+"/operationResults/{op}", fabricType+"/operationResults/read", (*Server).refreshed),
	get(vaultPath+"/backupProtectableItems", vaultType+"/backupProtectableItems/read", (*Server).protectable),
	get(vaultPath+"/backupProtectionContainers", vaultType+"/backupProtectionContainers/read", (*Server).containers),
	get(vaultPath+"/backupProtectedItems", vaultType+"/backupProtectedItems/read", (*Server).items),
	get(containerPath, containerType+"/read", (*Server).container),
	remove(containerPath, containerType+"/delete", (*Server).unregister),
	post(locationPath+"/backupStatus", "Microsoft.RecoveryServices/locations/backupStatus/action", (*Server).backupStatus),

	post(locationPath+"/backupPreValidateProtection", "Microsoft.RecoveryServices/locations/backupPreValidateProtection/action", (*Server).preValidate),
	post(locationPath+"/backupValidateFeatures", "Microsoft.RecoveryServices/locations/backupValidateFeatures/action", (*Server).validateFeature),
	get(vaultPath+"/backupUsageSummaries", vaultType+"/backupUsageSummaries/read", (*Server).usage),

	get(itemPath, itemType+"/read", (*Server).item),
	put(itemPath, itemType+"/write", (*Server).putItem),
	remove(itemPath, itemType+"/delete", (*Server).deleteItem),
	post(itemPath+"/backup", itemType+"/backup/action", (*Server).backup),
	get(pointPath, itemType+"/recoveryPoints/read", (*Server).points),
	get(pointPath+"/{point}", itemType+"/recoveryPoints/read", (*Server).point),
	patch(pointPath+"/{point}", itemType+"/recoveryPoints/write", (*Server).expirePoint),
	post(pointPath+"/{point}/restore", itemType+"/recoveryPoints/restore/action", (*Server).restore),
	post(itemPath+"/recoveryPointsRecommendedForMove", itemType+"/recoveryPointsRecommendedForMove/action", (*Server).movable),
	post(pointPath+"/{point}/move", itemType+"/recoveryPoints/move/action", (*Server).move),
	post(pointPath+"/{point}/provisionInstantItemRecovery", itemType+"/recoveryPoints/provisionInstantItemRecovery/action", (*Server).mount),
	post(pointPath+"/{point}/revokeInstantItemRecovery", itemType+"/recoveryPoints/revokeInstantItemRecovery/action", (*Server).mount),
}

// itemID is the id of the item that the path names.
func (r *request) itemID() string {
	return r.vaultID() + "/backupFabrics/" + r.captures["fabric"] + "/protectionContainers/" + r.captures["container"] + "/protectedItems/" + r.captures["item"]
}

// refresh looks at the sites at once: discovery is live, there is no list to renew.
func (s *Server) refresh(r *request) (answer, error) {
	if _, err := s.Service.Protectable(r.Context(), r.vaultID()); err != nil {
		return answer{}, err
	}
	a := status(http.StatusAccepted, nil)
	a.header = http.Header{"Location": {r.link(r.vaultID() + "/backupFabrics/" + r.captures["fabric"] + "/operationResults/" + r.id)}, "Retry-After": {retryAfter}}
	return a, nil
}

func (s *Server) refreshed(*request) (answer, error) { return noContent() }

func (s *Server) protectable(r *request) (answer, error) {
	f, err := r.filter("backupManagementType", "workloadType", "friendlyName", "status")
	if err != nil {
		return answer{}, err
	}
	v, err := r.theVault()
	if err != nil {
		return answer{}, err
	}
	out := []*sdk.WorkloadProtectableItemResource{}
	if !f.Matches("backupManagementType", "AzureIaasVM") {
		return listed(out)
	}
	vms, err := s.Service.Protectable(r.Context(), v.ID)
	if err != nil {
		return answer{}, err
	}
	for _, vm := range vms {
		if f.Matches("friendlyName", vm.Name) {
			out = append(out, backup.Protectable(v.ID, vm))
		}
	}
	return listed(out)
}

func (s *Server) containers(r *request) (answer, error) {
	f, err := r.filter("backupManagementType", "friendlyName", "status", "containerType")
	if err != nil {
		return answer{}, err
	}
	return s.pageOfItems(r, func(i service.Item) any {
		if f.Matches("backupManagementType", "AzureIaasVM") && f.Matches("friendlyName", i.VM) && f.Matches("status", "Registered") {
			return backup.Container(i)
		}
		return nil
	})
}

// container finds a container by the names in it: IaasVMContainer;kind;group;vm.
func (s *Server) container(r *request) (answer, error) {
	name := r.captures["container"]
	if parts := strings.Split(name, ";"); len(parts) == 4 {
		i, err := s.Service.Item(r.Context(), resource.ItemID(r.vaultID(), parts[2], parts[3]))
		if err == nil {
			return ok(backup.Container(i))
		}
		if holdfast.KindOf(err) != holdfast.NotFound {
			return answer{}, err
		}
	}
	return answer{}, holdfast.Errorf(holdfast.NotFound, name, "The container %q was not found.", name)
}

func (s *Server) items(r *request) (answer, error) {
	f, err := r.filter("backupManagementType", "itemType", "policyName", "backupSetName", "containerName", "fabricName", "friendlyName")
	if err != nil {
		return answer{}, err
	}
	return s.pageOfItems(r, func(i service.Item) any {
		if f.Matches("backupManagementType", "AzureIaasVM") && f.Matches("itemType", "VM") && f.Matches("policyName", i.Policy) && f.Matches("friendlyName", i.VM) {
			return backup.Item(i)
		}
		return nil
	})
}

// pageOfItems is a page of what a vault's items are shown as.
func (s *Server) pageOfItems(r *request, wire func(service.Item) any) (answer, error) {
	size, err := r.pageSize(pageSize)
	if err != nil {
		return answer{}, err
	}
	all, err := s.Service.Items(r.Context(), r.vaultID(), r.URL.Query().Get("$skipToken"), size+1)
	if err != nil {
		return answer{}, err
	}
	return paged(r, all, size, func(i service.Item) string { return i.ID }, wire)
}

func (s *Server) item(r *request) (answer, error) {
	i, err := s.Service.Item(r.Context(), r.itemID())
	if err != nil {
		return answer{}, err
	}
	n, oldest, err := s.Service.PointCount(r.Context(), i.ID)
	if err != nil {
		return answer{}, err
	}
	return ok(backup.ItemDetail(i, n, oldest))
}

func (s *Server) putItem(r *request) (answer, error) {
	in, err := decoded(r, backup.DecodeProtect)
	if err != nil {
		return answer{}, err
	}
	j, err := s.Service.PutItem(r.Context(), r.vaultID(), r.captures["container"], r.captures["item"], in)
	return r.accepted(j, err)
}

func (s *Server) deleteItem(r *request) (answer, error) {
	j, err := s.Service.DeleteItem(r.Context(), r.itemID())
	return r.accepted(j, err)
}

func (s *Server) backup(r *request) (answer, error) {
	expires, err := decoded(r, backup.DecodeBackup)
	if err != nil {
		return answer{}, err
	}
	j, err := s.Service.BackupNow(r.Context(), r.itemID(), expires)
	return r.accepted(j, err)
}

func (s *Server) points(r *request) (answer, error) {
	f, err := r.filter("startDate", "endDate", "restorePointQueryType", "extendedInfo")
	if err != nil {
		return answer{}, err
	}
	from, err1 := f.Time("startDate")
	to, err2 := f.Time("endDate")
	if err1 != nil || err2 != nil {
		return answer{}, holdfast.Errorf(holdfast.Invalid, "$filter", "startDate and endDate are dates such as '2024-01-02 12:00:00 AM'.")
	}
	size, err := r.pageSize(pageSize)
	if err != nil {
		return answer{}, err
	}
	q := service.PointFilter{From: from, To: to, After: r.URL.Query().Get("$skipToken"), Limit: size + 1}
	all, err := s.Service.Points(r.Context(), r.itemID(), q)
	if err != nil {
		return answer{}, err
	}
	return paged(r, all, size, func(p service.Point) string { return p.Name }, func(p service.Point) any { return backup.Point(p) })
}

func (s *Server) point(r *request) (answer, error) {
	p, err := s.Service.Point(r.Context(), r.itemID(), r.captures["point"])
	if err != nil {
		return answer{}, err
	}
	return ok(backup.Point(p))
}

func (s *Server) restore(r *request) (answer, error) {
	in, err := decoded(r, backup.DecodeRestore)
	if err != nil {
		return answer{}, err
	}
	if in.Mode == string(holdfast.ReplaceDisks) {
		i, err := s.Service.Item(r.Context(), r.itemID())
		if err != nil {
			return answer{}, err
		}
		if change := "Microsoft.Compute/virtualMachines/write"; !r.may(change, i.Source) {
			return answer{}, r.forbidden(change, i.Source)
		}
	}
	j, err := s.Service.Restore(r.Context(), r.itemID(), r.captures["point"], in)
	return r.accepted(j, err)
}

func (s *Server) backupStatus(r *request) (answer, error) {
	vm, err := decoded(r, backup.StatusRequest)
	if err != nil {
		return answer{}, err
	}
	i, err := s.Service.ProtectionOf(r.Context(), vm)
	if err != nil && holdfast.KindOf(err) != holdfast.NotFound {
		return answer{}, err
	}
	if err != nil || !r.may(vaultType+"/read", i.Vault) { // a vault that the caller may not see is not named
		return ok(backup.Status(nil))
	}
	return ok(backup.Status(&i))
}

func (s *Server) preValidate(r *request) (answer, error) {
	in, err := decoded(r, backup.PreValidateRequest)
	if err != nil {
		return answer{}, err
	}
	vault, vm := "", ""
	if in.VaultID != nil && in.ResourceID != nil {
		vault, vm = *in.VaultID, *in.ResourceID
	}
	if !r.may(vaultType+"/read", vault) {
		return answer{}, holdfast.Errorf(holdfast.Forbidden, "vaultId", "The client may not read the vault %q.", vault)
	}
	err = s.Service.CheckProtect(r.Context(), vault, vm)
	if err != nil && holdfast.KindOf(err) == holdfast.Internal {
		return answer{}, err
	}
	return ok(backup.PreValidate(err))
}

func (s *Server) validateFeature(r *request) (answer, error) {
	known, err := decoded(r, backup.DecodeFeature)
	if err != nil {
		return answer{}, err
	}
	return ok(backup.Feature(known))
}

func (s *Server) usage(r *request) (answer, error) {
	items, policies, err := s.Service.Usage(r.Context(), r.vaultID())
	if err != nil {
		return answer{}, err
	}
	return listed([]*sdk.BackupManagementUsage{backup.Usage("ProtectedItemsCount", items), backup.Usage("BackupPoliciesCount", policies)})
}

// movable lists the points that an archive tier would take: there is none.
func (s *Server) movable(r *request) (answer, error) {
	if _, err := s.Service.Item(r.Context(), r.itemID()); err != nil {
		return answer{}, err
	}
	return listed([]any{})
}

func (s *Server) move(r *request) (answer, error) {
	if _, err := s.Service.Point(r.Context(), r.itemID(), r.captures["point"]); err != nil {
		return answer{}, err
	}
	return answer{}, holdfast.Errorf(holdfast.Unsupported, r.captures["point"], "The vault has no archive tier to move the point to.")
}

func (s *Server) mount(r *request) (answer, error) {
	if _, err := s.Service.Point(r.Context(), r.itemID(), r.captures["point"]); err != nil {
		return answer{}, err
	}
	return answer{}, holdfast.Errorf(holdfast.Unsupported, r.captures["point"], "Files of a point cannot be reached through this server.").WithHint("Restore the disks.")
}
