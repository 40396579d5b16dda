package backup

import (
	"cmp"
	"encoding/json"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	sdk "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/recoveryservices/armrecoveryservicesbackup/v4"

	"holdfast"
	"holdfast/internal/resource"
	"holdfast/internal/service"
)

// pointTypes are Azure's words for the consistencies.
var pointTypes = map[holdfast.Consistency]string{
	holdfast.ApplicationConsistent: "AppConsistent",
	holdfast.FileSystemConsistent:  "FileSystemConsistent",
	holdfast.CrashConsistent:       "CrashConsistent",
}

// tiersOf are where a point is: InstantRP is the operational repository of the
// VM's site, HardenedRP the vault's.
func tiersOf(p service.Point) []*sdk.RecoveryPointTierInformationV2 {
	var all []*sdk.RecoveryPointTierInformationV2
	for _, tier := range []struct {
		is   sdk.RecoveryPointTierType
		here bool
	}{{sdk.RecoveryPointTierTypeInstantRP, p.InInstantTier()}, {sdk.RecoveryPointTierTypeHardenedRP, !p.Waiting}} {
		if tier.here {
			all = append(all, &sdk.RecoveryPointTierInformationV2{Type: to.Ptr(tier.is), Status: to.Ptr(sdk.RecoveryPointTierStatusValid)})
		}
	}
	return all
}

// Point is a recovery point on the wire.
func Point(p service.Point) *sdk.RecoveryPointResource {
	r := p.Result
	included := make([]*sdk.DiskInformation, len(r.Disks))
	for i, d := range r.Disks {
		included[i] = &sdk.DiskInformation{Lun: to.Ptr(int32(d.LUN)), Name: to.Ptr(d.Target)}
	}
	excluded := make([]*sdk.DiskInformation, len(p.Excluded))
	for i, lun := range p.Excluded {
		excluded[i] = &sdk.DiskInformation{Lun: to.Ptr(int32(lun))}
	}
	properties := &sdk.RecoveryPointProperties{IsSoftDeleted: to.Ptr(false)}
	if !p.Expires.IsZero() {
		properties.ExpiryTime = to.Ptr(p.Expires.UTC().Format(time.RFC3339))
	}
	return &sdk.RecoveryPointResource{
		ID: to.Ptr(resource.PointID(p.Item, p.Name)), Name: &p.Name, Type: to.Ptr(resource.TypePoint),
		Properties: &sdk.IaasVMRecoveryPoint{
			ObjectType:                   to.Ptr("IaasVMRecoveryPoint"),
			RecoveryPointType:            to.Ptr(pointTypes[r.Consistency]),
			RecoveryPointTime:            moment(r.Time),
			RecoveryPointAdditionalInfo:  to.Ptr(r.Reason + verified(p.Verified)),
			SourceVMStorageType:          to.Ptr("NormalStorage"),
			IsSourceVMEncrypted:          to.Ptr(keys(r) != nil),
			KeyAndSecret:                 keys(r),
			IsInstantIlrSessionActive:    to.Ptr(false),
			IsManagedVirtualMachine:      to.Ptr(true), // of unmanaged ones az 2.45 makes no VM (it adds to a group that is None)
			OriginalStorageAccountOption: to.Ptr(false),
			VirtualMachineSize:           &r.VMSize,
			OSType:                       to.Ptr(cmp.Or(r.OSType, "Linux")),
			RecoveryPointTierDetails:     tiersOf(p),
			RecoveryPointDiskConfiguration: &sdk.RecoveryPointDiskConfiguration{
				NumberOfDisksIncludedInBackup: to.Ptr(int32(len(included))), NumberOfDisksAttachedToVM: to.Ptr(int32(len(included) + len(excluded))),
				IncludedDiskList: included, ExcludedDiskList: excluded,
			},
			RecoveryPointMoveReadinessInfo: map[string]*sdk.RecoveryPointMoveReadinessInfo{
				"ArchivedRP": {IsReadyForMove: to.Ptr(false), AdditionalInfo: to.Ptr("The vault has no archive tier.")},
			},
			RecoveryPointProperties: properties,
		},
	}
}

// secretURL is where Azure has the URL of a secret: here that of a libvirt secret
// which a point keeps. Nobody is given its value.
func secretURL(uuid string) string { return "libvirt://secret/" + uuid }

// keys names the secrets of encrypted disks that the point keeps; nil for none. Azure
// names one; the others are in the disks of the job.
func keys(r holdfast.BackupResult) *sdk.KeyAndSecretDetails {
	for _, d := range r.Disks {
		if d.Secret != "" {
			return &sdk.KeyAndSecretDetails{EncryptionMechanism: to.Ptr("LUKS"), BekDetails: &sdk.BEKDetails{SecretURL: to.Ptr(secretURL(d.Secret))}}
		}
	}
	return nil
}

// verified says what a verification has shown, behind what the point proves of
// itself.
func verified(v *service.Verified) string {
	switch {
	case v == nil:
		return ""
	case v.Failure != "":
		return " Verified " + v.Time.UTC().Format(time.RFC3339) + ": not proved. " + v.Failure
	}
	return " Verified " + v.Time.UTC().Format(time.RFC3339) + ": the guest answered after " + v.Answered.Round(100*time.Millisecond).String() + "."
}

// DecodeBackup reads the request for a backup: when its point may go.
func DecodeBackup(body []byte) (expires time.Time, err error) {
	var r sdk.BackupRequestResource
	if err := decode(body, &r); err != nil {
		return expires, err
	}
	if r.Properties == nil {
		return expires, unknown("objectType", nil, "IaasVMBackupRequest")
	}
	p, ok := r.Properties.(*sdk.IaasVMBackupRequest)
	if !ok {
		return expires, unknown("objectType", r.Properties.GetBackupRequest().ObjectType, "IaasVMBackupRequest")
	}
	return deref(p.RecoveryPointExpiryTimeInUTC), nil
}

// DecodeRestore reads the request for a restore, with Holdfast's own members
// (docs/design/architecture.md).
func DecodeRestore(body []byte) (service.RestoreRequest, error) {
	var r sdk.RestoreRequestResource
	if err := decode(body, &r); err != nil {
		return service.RestoreRequest{}, err
	}
	if r.Properties == nil {
		return service.RestoreRequest{}, unknown("objectType", nil, "IaasVMRestoreRequest")
	}
	p, ok := r.Properties.(*sdk.IaasVMRestoreRequest)
	if !ok {
		return service.RestoreRequest{}, unknown("objectType", r.Properties.GetRestoreRequest().ObjectType, "IaasVMRestoreRequest")
	}
	if err := refuseMembers(body); err != nil {
		return service.RestoreRequest{}, err
	}
	var own struct {
		Properties struct {
			Holdfast struct {
				Directory  string `json:"directory"`
				Format     string `json:"format"`
				NamePrefix string `json:"namePrefix"`
				Start      *bool  `json:"start"`
				Instant    bool   `json:"instant"`
				FillRate   int64  `json:"fillRate"` // bytes per second
				// Go durations, such as 24h (time.ParseDuration).
				SnapshotWithin string   `json:"snapshotWithin"`
				Patience       string   `json:"patience"`
				Check          []string `json:"check"`
			} `json:"holdfast"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(body, &own); err != nil {
		return service.RestoreRequest{}, badBody(err)
	}
	h := own.Properties.Holdfast
	within, err := duration("snapshotWithin", h.SnapshotWithin)
	if err != nil {
		return service.RestoreRequest{}, err
	}
	patience, err := duration("patience", h.Patience)
	if err != nil {
		return service.RestoreRequest{}, err
	}
	return service.RestoreRequest{
		Mode: string(deref(p.RecoveryType)), Region: deref(p.Region), Source: deref(p.SourceResourceID),
		TargetVM: deref(p.TargetVirtualMachineID), TargetRG: deref(p.TargetResourceGroupID), Managed: deref(p.RestoreWithManagedDisks),
		Network: deref(p.VirtualNetworkID), Subnet: deref(p.SubnetID), Pool: deref(p.StorageAccountID), LUNs: ints(p.RestoreDiskLunList), Zones: plain(p.Zones, func(z string) string { return z }),
		Directory: h.Directory, Format: h.Format, NamePrefix: h.NamePrefix, Start: h.Start, Instant: h.Instant, FillRate: h.FillRate, SnapshotWithin: within,
		Check: h.Check, Patience: patience,
	}, nil
}

// notRestored are members of the properties of a restore request, or of what a
// client would have the new VM be, that would be ignored in silence, with what there
// is instead. Members that say nothing (null, "", {}) are none.
var notRestored = []struct{ member, instead string }{
	{"availabilitySet", intoSet}, {"availabilitySetId", intoSet},
	{"host", onHost}, {"hostId", onHost}, {"hostGroup", onHost},
	{"diskEncryptionSetId", "Leave it out: restore to a storage account on encrypted storage, or encrypt in the guest."},
	{"identityBasedRestoreDetails", "Name the storage account in storageAccountId: a pool of the site needs no identity."},
	{"targetDiskNetworkAccessSettings", "Leave it out: who may read a disk, roles say."},
	{"extendedLocation", "Leave it out: there are no edge zones."},
	{"securedVMDetails", "Leave it out: a VM comes back with the firmware and TPM that it had."},
}

const (
	intoSet = "Restore the disks (RestoreDisks) and deploy their template, which has the parameter availabilitySetId (MGT-05)."
	onHost  = "Restore the disks (RestoreDisks) and deploy their template, which has the parameter hostId (CMP-13)."
)

// refuseMembers refuses what a restore does not do, instead of doing less.
func refuseMembers(body []byte) error {
	var in struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return badBody(err)
	}
	for _, n := range notRestored {
		switch string(in.Properties[n.member]) {
		case "", "null", `""`, "{}":
			continue
		}
		return holdfast.Errorf(holdfast.Unsupported, "properties."+n.member, "A restore takes no properties.%s.", n.member).WithHint(n.instead)
	}
	return nil
}

// duration reads a time of Holdfast's own members; "" is 0.
func duration(member, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		member = "properties.holdfast." + member
		return 0, holdfast.Errorf(holdfast.Invalid, member, "%s is %q; it is a time such as 90m or 24h.", member, text)
	}
	return d, nil
}
