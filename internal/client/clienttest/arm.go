package clienttest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// The seeded resources.
const (
	group  = "/subscriptions/" + Subscription + "/resourceGroups/lab"
	Vault  = group + "/providers/Microsoft.RecoveryServices/vaults/safe"
	VM     = group + "/providers/Microsoft.Compute/virtualMachines/web"
	Site   = "/subscriptions/" + Subscription + "/providers/Holdfast.Site/sites/here"
	Item   = Vault + "/backupFabrics/Azure/protectionContainers/IaasVMContainer;iaasvmcontainerv2;lab;web/protectedItems/VM;iaasvmcontainerv2;lab;web"
	Policy = Vault + "/backupPolicies/DefaultPolicy"
)

func (s *Server) seed() {
	s.Put(Site, "here", object{"uri": "qemu:///system", "resourceGroup": "lab", "host": "host1", "libvirtVersion": "9.0.0", "qemuVersion": "7.2.0",
		"pools":    []object{{"name": "default", "path": "/pool", "type": "dir", "available": 5 << 30}},
		"networks": []string{"default"}})
	s.Put(VM, "here", object{"hardwareProfile": object{"vmSize": "2 vCPU, 1 GiB"},
		"instanceView": object{"statuses": []object{{"code": "PowerState/running"}}},
		"storageProfile": object{
			"osDisk":    object{"osType": "Linux", "name": "vda", "diskSizeGB": 2},
			"dataDisks": []object{{"lun": 0, "name": "vdb", "diskSizeGB": 1}}}})
	s.Put(Vault, "here", object{"provisioningState": "Succeeded", "holdfast": object{"repositoryUrl": "file:///vaults/safe", "repositoryId": "r1"}})
	s.Put(Policy, "", object{"backupManagementType": "AzureIaasVM", "policyType": "V1", "timeZone": "UTC", "protectedItemsCount": 0,
		"instantRpRetentionRangeInDays": 2,
		"schedulePolicy":                object{"schedulePolicyType": "SimpleSchedulePolicy", "scheduleRunFrequency": "Daily", "scheduleRunTimes": []string{"2023-01-01T02:00:00Z"}},
		"retentionPolicy": object{"retentionPolicyType": "LongTermRetentionPolicy", "dailySchedule": object{
			"retentionTimes": []string{"2023-01-01T02:00:00Z"}, "retentionDuration": object{"count": 30, "durationType": "Days"}}}})
}

// AddItem protects the seeded VM and gives it points of which the last is the newest.
func (s *Server) AddItem(points ...string) {
	s.Put(Item, "", object{"protectedItemType": "Microsoft.Compute/virtualMachines", "backupManagementType": "AzureIaasVM",
		"friendlyName": "web", "sourceResourceId": VM, "policyName": "DefaultPolicy", "protectionState": "Protected",
		"lastBackupStatus": "Completed", "extendedInfo": object{"recoveryPointCount": len(points)}})
	slices.Reverse(points)
	for i, name := range points {
		s.Put(Item+"/recoveryPoints/"+name, "", object{"objectType": "IaasVMRecoveryPoint", "recoveryPointType": "FileSystemConsistent",
			"recoveryPointTime": fmt.Sprintf("2026-11-%02dT02:00:00Z", 20-i), "virtualMachineSize": "2 vCPU, 1 GiB", "osType": "Linux",
			"recoveryPointTierDetails":       []object{{"type": "HardenedRP", "status": "Valid"}},
			"recoveryPointDiskConfiguration": object{"includedDiskList": []object{{"lun": -1, "name": "vda"}, {"lun": 0, "name": "vdb"}}},
			"recoveryPointProperties":        object{"expiryTime": "2026-12-20T02:00:00Z"}})
	}
}

// AddPool gives the seeded site another storage pool.
func (s *Server) AddPool(name string) {
	p := s.resources[strings.ToLower(Site)]["properties"].(object)
	p["pools"] = append(p["pools"].([]object), object{"name": name, "path": "/" + name, "type": "dir", "available": 1 << 30})
}

// lists maps the last segment of a list's path to that of its resources, where
// they differ.
var lists = map[string]string{"backupprotecteditems": "protecteditems"}

func (s *Server) arm(w http.ResponseWriter, q Request) {
	path := strings.ToLower(strings.TrimSuffix(q.Path, "/"))
	last := path[strings.LastIndexByte(path, '/')+1:]
	switch {
	case strings.HasSuffix(path, "/microsoft.alertsmanagement/alerts"):
		reply(w, http.StatusOK, object{"value": []object{alert("JobFailed", "Backup of web failed: The repository's disk is full.")}})
	case strings.HasSuffix(path, "/alerts/alert-1/changestate"):
		changed := alert("JobFailed", "Backup of web failed: The repository's disk is full.")
		changed["properties"].(object)["essentials"].(object)["alertState"] = q.Query[strings.LastIndexByte(q.Query, '=')+1:]
		reply(w, http.StatusOK, changed)
	case strings.HasSuffix(path, "/holdfast.monitor/testalert"):
		reply(w, http.StatusOK, alert("Test", "This is a test.", object{"channel": "mail", "tries": 1, "error": "no such mailbox"}, object{"channel": "webhook", "tries": 1, "taken": true}))
	case strings.Contains(path, "/backupoperations/"):
		s.operation(w, last)
	case strings.Contains(path, "/backupjobs"):
		s.job(w, q, path)
	case q.Method == http.MethodPost && (last == "backup" || last == "restore"):
		s.trigger(w, path, last)
	case q.Method == http.MethodPut:
		s.put(w, q, path)
	case q.Method == http.MethodDelete:
		s.delete(w, path)
	case s.resources[path] != nil:
		reply(w, http.StatusOK, s.resources[path])
	case strings.Count(path, "/")%2 == 1:
		s.list(w, q, path, last)
	default:
		s.notFound(w, path)
	}
}

// alert is one that a server tells, with what each channel did.
func alert(rule, description string, deliveries ...object) object {
	return object{"name": "alert-1", "type": "Microsoft.AlertsManagement/alerts", "properties": object{
		"essentials": object{"alertRule": rule, "severity": "Sev1", "monitorCondition": "Fired", "targetResourceName": "web", "description": description, "startDateTime": "2026-11-20T02:00:00Z"},
		"context":    object{"deliveries": deliveries}}}
}

func (s *Server) list(w http.ResponseWriter, q Request, path, last string) {
	parent := path[:strings.LastIndexByte(path, '/')]
	if strings.Contains(parent, "/protecteditems/") && s.resources[parent] == nil {
		s.notFound(w, parent)
		return
	}
	kind := last
	if mapped := lists[last]; mapped != "" {
		kind = mapped
	}
	scope := parent
	if !strings.Contains(parent, "/vaults/") {
		// A list of the subscription is also of what is in its groups.
		scope, _, _ = strings.Cut(parent, "/providers/")
	}
	s.page(w, q, func(key string) bool {
		segments := strings.Split(key, "/")
		return strings.HasPrefix(key, scope) && segments[len(segments)-2] == kind
	})
}

func (s *Server) notFound(w http.ResponseWriter, path string) {
	kind, name := typeAndName(path)
	Fail(w, http.StatusNotFound, "ResourceNotFound", fmt.Sprintf("The resource '%s/%s' was not found.", kind, name))
}

func (s *Server) put(w http.ResponseWriter, q Request, path string) {
	properties, _ := q.Body["properties"].(object)
	if strings.Contains(path, "/protecteditems/") {
		if s.resources[strings.ToLower(fmt.Sprint(properties["sourceResourceId"]))] == nil {
			Fail(w, http.StatusBadRequest, "BMSUserErrorContainerObjectNotFound", "The VM was not found.")
			return
		}
		s.AddItem()
		r := s.resources[strings.ToLower(Item)]["properties"].(object)
		if state, ok := properties["protectionState"].(string); ok {
			r["protectionState"] = state
		}
		s.accept(w, "ConfigureBackup")
		return
	}
	if uri, _ := properties["uri"].(string); strings.Contains(uri, "nowhere") {
		Fail(w, http.StatusBadRequest, "HostUnreachable", "libvirt at "+uri+" does not answer.")
		return
	}
	location, _ := q.Body["location"].(string)
	s.Put(q.Path, location, properties)
	reply(w, http.StatusOK, s.resources[path])
}

func (s *Server) delete(w http.ResponseWriter, path string) {
	if s.resources[path] == nil {
		s.notFound(w, path)
		return
	}
	if path == strings.ToLower(Vault) && s.resources[strings.ToLower(Item)] != nil {
		Fail(w, http.StatusBadRequest, "ServiceResourceNotEmptyWithContainerDetails", "There are existing resources within the vault.")
		return
	}
	delete(s.resources, path)
	if strings.Contains(path, "/protecteditems/") {
		s.accept(w, "DeleteBackupData")
		return
	}
	w.WriteHeader(http.StatusOK)
}

func (s *Server) trigger(w http.ResponseWriter, path, verb string) {
	if s.resources[strings.ToLower(Item)] == nil {
		s.notFound(w, path[:strings.LastIndexByte(path, '/')])
		return
	}
	for _, j := range s.jobs {
		if j.operation == "Backup" && verb == "backup" && !j.ended() {
			Fail(w, http.StatusConflict, "UserErrorBackupOperationInProgress", "A backup of this VM is running.")
			return
		}
	}
	s.accept(w, map[string]string{"backup": "Backup", "restore": "Restore"}[verb])
}
