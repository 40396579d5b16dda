package compute

import (
	"maps"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	sdk "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"

	"holdfast"
	"holdfast/internal/api/resources"
	"holdfast/internal/resource"
	"holdfast/internal/service"
)

// DecodeCollection reads PUT and PATCH on a restore point collection.
func DecodeCollection(body []byte) (service.CollectionInput, error) {
	in, err := resources.Decode[struct {
		Location   string            `json:"location"`
		Tags       map[string]string `json:"tags"`
		Properties struct {
			Source reference `json:"source"`
		} `json:"properties"`
	}](body)
	return service.CollectionInput{Location: in.Location, Tags: in.Tags, Source: in.Properties.Source.ID}, err
}

type reference struct {
	ID string `json:"id"`
}

// DecodeRestorePoint reads PUT on a restore point. An empty body is one that asks
// for nothing in particular.
func DecodeRestorePoint(body []byte) (service.RestorePointInput, error) {
	if len(body) == 0 {
		return service.RestorePointInput{}, nil
	}
	in, err := resources.Decode[struct {
		Properties struct {
			ConsistencyMode    holdfast.Consistency `json:"consistencyMode"`
			ExcludeDisks       []reference          `json:"excludeDisks"`
			SourceRestorePoint reference            `json:"sourceRestorePoint"`
		} `json:"properties"`
	}](body)
	p := in.Properties
	out := service.RestorePointInput{Want: p.ConsistencyMode, Source: p.SourceRestorePoint.ID}
	for _, d := range p.ExcludeDisks {
		out.Exclude = append(out.Exclude, d.ID)
	}
	return out, err
}

// DecodeAccess reads beginGetAccess.
func DecodeAccess(body []byte) (service.AccessInput, error) {
	in, err := resources.Decode[struct {
		Access            string `json:"access"`
		DurationInSeconds int64  `json:"durationInSeconds"`
		FileFormat        string `json:"fileFormat"`
	}](body)
	return service.AccessInput{Level: in.Access, Seconds: in.DurationInSeconds, Format: in.FileFormat}, err
}

// Collection is a restore point collection on the wire; points are nil unless
// they are asked for.
func Collection(c service.Collection, points []service.RestorePoint) resources.Resource {
	state := "Succeeded"
	if c.Deleting {
		state = "Deleting"
	}
	p := map[string]any{"provisioningState": state, "restorePointCollectionId": c.GUID, "source": map[string]any{"id": c.Source, "location": c.SourceLocation}}
	if points != nil {
		p["restorePoints"] = wired(points, RestorePoint)
	}
	return resources.Resource{ID: c.ID, Name: c.Name, Type: resource.TypeCollection, Location: c.Location, Tags: c.Tags, ETag: c.ETag, Properties: p}
}

func wired[T, W any](all []T, wire func(T) W) []W {
	out := make([]W, len(all))
	for i, v := range all {
		out[i] = wire(v)
	}
	return out
}

// RestorePoint is a restore point on the wire. Its consistencyMode is what was
// asked for until it is made, and then what was proved.
func RestorePoint(r service.RestorePoint) resources.Resource {
	p := map[string]any{"provisioningState": r.State, "consistencyMode": r.Want, "timeCreated": r.Created.UTC(), "excludeDisks": references(r.Exclude), "sourceMetadata": metadata(r)}
	if r.Source != "" {
		p["sourceRestorePoint"] = map[string]any{"id": r.Source}
	}
	if !r.Result.Time.IsZero() {
		p["consistencyMode"], p["timeCreated"] = r.Result.Consistency, r.Result.Time.UTC()
		p["holdfast"] = map[string]any{"pointId": r.Result.PointID, "asked": r.Want, "reason": r.Result.Reason, "frozenFor": r.Result.FrozenFor.String(), "warnings": append([]string{}, warnings(r)...), "disks": r.Result.Disks}
	}
	if r.Failure != nil {
		beside, _ := p["holdfast"].(map[string]any)
		if beside == nil {
			beside = map[string]any{}
		}
		beside["failure"], p["holdfast"] = strings.TrimSpace(r.Failure.Message+" "+r.Failure.Hint), beside
	}
	return resources.Resource{ID: r.ID, Name: r.Name, Type: resource.TypeRestorePoint, Properties: p}
}

func references(ids []string) []reference {
	return wired(ids, func(id string) reference { return reference{ID: id} })
}

// warnings are what the making of a point had to say, and what a copy lost: a key
// of the customer's is not used at another site (RPL-05).
func warnings(r service.RestorePoint) []string {
	all := slices.Clone(r.Result.Warnings)
	if r.Source == "" {
		return all
	}
	for _, k := range r.Result.VM.Disks {
		if r.Result.VM.EncryptionSet(k.Target) != "" {
			all = append(all, "Disk "+k.Target+" is under a customer-managed key at "+r.SourceLocation+"; this copy is under the platform-managed key of "+r.Location+".")
		}
	}
	return all
}

// disk is what is kept of a disk, in its wire form.
func disk(vm holdfast.VMFact, k holdfast.DiskFact) *sdk.DataDisk {
	out := &sdk.DataDisk{}
	read((service.VM{VMFact: vm}).KeptOfDisk(k.Target), out)
	return out
}

// InstanceViewOf is how far a restore point is: percent of each of its disks.
func InstanceViewOf(r service.RestorePoint, percent int) map[string]any {
	code, display := "ReplicationState/"+replication(r), replication(r)
	disks := wired(r.Disks(), func(d service.DiskPoint) map[string]any {
		return map[string]any{"id": d.ID, "replicationStatus": map[string]any{"completionPercent": percent,
			"status": map[string]any{"code": code, "level": "Info", "displayStatus": display}}}
	})
	return map[string]any{"diskRestorePoints": disks, "statuses": statuses(r)}
}

// replication is Azure's word for how far a disk restore point is.
func replication(r service.RestorePoint) string {
	switch r.State {
	case service.PointCreating:
		return "Pending"
	case service.PointSucceeded:
		return "Succeeded"
	}
	return string(r.State)
}

// statuses say how a point is, why it failed and what its user must know.
func statuses(r service.RestorePoint) []map[string]any {
	level, message := "Info", ""
	if r.Failure != nil {
		level, message = "Error", r.Failure.Message+" "+r.Failure.Hint
	}
	all := []map[string]any{{"code": "ProvisioningState/" + string(r.State), "level": level, "displayStatus": string(r.State), "message": message}}
	for _, w := range warnings(r) {
		all = append(all, map[string]any{"code": "Warning", "level": "Warning", "displayStatus": "Warning", "message": w})
	}
	return all
}

// metadata is what the VM was when the point was made. What armcompute has no
// member for is under holdfast.
func metadata(r service.RestorePoint) map[string]any {
	f := r.Result.VM
	vm := service.VM{ID: r.VM, Location: sourceLocation(r), VMFact: f}
	wire := VM(vm, true)
	p := wire.Properties
	m := map[string]any{
		"vmId": f.UUID, "location": resource.Location(vm.Location), "hardwareProfile": p.HardwareProfile, "osProfile": p.OSProfile, "licenseType": p.LicenseType,
		"diagnosticsProfile": p.DiagnosticsProfile, "securityProfile": p.SecurityProfile, "hyperVGeneration": p.InstanceView.HyperVGeneration, "userData": p.UserData,
		"storageProfile": sourceStorage(r),
		"holdfast":       map[string]any{"kept": keptOf(f), "tags": f.Tags, "networkInterfaces": f.NICs, "state": f.State, "os": f.OS, "extensions": extensions(f), "secrets": secrets(f)},
	}
	maps.DeleteFunc(m, func(_ string, v any) bool { return absent(v) })
	return m
}

// absent says of a member's value that it is a nil pointer of the SDK's.
func absent(v any) bool {
	switch p := v.(type) {
	case *string:
		return p == nil
	case *sdk.DiagnosticsProfile:
		return p == nil
	case *sdk.SecurityProfile:
		return p == nil
	}
	return false
}

func keptOf(f holdfast.VMFact) map[string]any {
	if f.Kept == nil {
		return map[string]any{}
	}
	return f.Kept
}

// extensions are those of the VM: here the guest agent is what Azure's are for.
func extensions(f holdfast.VMFact) []string {
	if f.AgentUp {
		return []string{"qemu-guest-agent"}
	}
	return []string{}
}

func sourceLocation(r service.RestorePoint) string {
	if r.Source != "" {
		return r.SourceLocation
	}
	return r.Location
}

// sourceStorage is the VM's disks at the moment of the point, each with its disk
// restore point if it is in the point.
func sourceStorage(r service.RestorePoint) *sdk.RestorePointSourceVMStorageProfile {
	s := &sdk.RestorePointSourceVMStorageProfile{DataDisks: []*sdk.RestorePointSourceVMDataDisk{}}
	in := map[string]*sdk.DiskRestorePointAttributes{}
	for _, d := range r.Disks() {
		in[d.Disk.Target] = &sdk.DiskRestorePointAttributes{ID: to.Ptr(d.ID), Encryption: restorePointEncryption(r)}
	}
	osType := sdk.OperatingSystemTypeLinux
	if r.Result.VM.OSType == "Windows" {
		osType = sdk.OperatingSystemTypeWindows
	}
	for _, k := range r.Result.VM.Disks {
		was := disk(r.Result.VM, k)
		if was.ManagedDisk == nil {
			was.ManagedDisk = &sdk.ManagedDiskParameters{}
		}
		was.ManagedDisk.ID = to.Ptr(service.DiskPoint{Point: r, Disk: k}.SourceDisk())
		if k.LUN < 0 {
			s.OSDisk = &sdk.RestorePointSourceVMOSDisk{Name: to.Ptr(k.Target), OSType: &osType, Caching: was.Caching, DiskSizeGB: gigabytes(k.Size), ManagedDisk: was.ManagedDisk,
				WriteAcceleratorEnabled: was.WriteAcceleratorEnabled, DiskRestorePoint: in[k.Target], EncryptionSettings: encryptionSettings(k)}
			continue
		}
		s.DataDisks = append(s.DataDisks, &sdk.RestorePointSourceVMDataDisk{Lun: to.Ptr(int32(k.LUN)), Name: to.Ptr(k.Target), Caching: was.Caching, DiskSizeGB: gigabytes(k.Size),
			ManagedDisk: was.ManagedDisk, WriteAcceleratorEnabled: was.WriteAcceleratorEnabled, DiskRestorePoint: in[k.Target]})
	}
	return s
}

// DiskRestorePoint is one disk of a restore point on the wire.
func DiskRestorePoint(d service.DiskPoint, percent int) resources.Resource {
	r := d.Point
	p := map[string]any{
		"timeCreated": r.Created.UTC(), "sourceResourceId": d.SourceDisk(), "sourceUniqueId": r.Result.VM.UUID + "." + d.Disk.Target, "familyId": r.Result.VM.UUID + "." + d.Disk.Target,
		"sourceResourceLocation": sourceLocation(r), "replicationState": replication(r), "completionPercent": percent,
		"encryption": diskPointEncryption(r), "networkAccessPolicy": sdk.NetworkAccessPolicyAllowAll, "publicNetworkAccess": sdk.PublicNetworkAccessEnabled,
		"holdfast": map[string]any{"target": d.Disk.Target, "lun": d.Disk.LUN, "size": d.Disk.Size},
	}
	if !r.Result.Time.IsZero() {
		p["timeCreated"] = r.Result.Time.UTC()
	}
	if d.Disk.LUN < 0 {
		p["hyperVGeneration"], p["osType"] = sdk.HyperVGenerationV1, sdk.OperatingSystemTypesLinux
		if r.Result.VM.UEFI {
			p["hyperVGeneration"] = sdk.HyperVGenerationV2
		}
		if r.Result.VM.OSType == "Windows" {
			p["osType"] = sdk.OperatingSystemTypesWindows
		}
	}
	return resources.Resource{ID: d.ID, Name: d.Name, Type: resource.TypeDiskRestorePoint, Properties: p}
}
