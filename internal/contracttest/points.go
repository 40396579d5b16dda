package contracttest

import (
	"io"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"
)

// restorePoints makes a collection, points of each consistency, reads a disk of
// one, and takes all away again.
func (d *driver) restorePoints() {
	d.Helper()
	ctx, collections, points := d.Context(), d.compute6.NewRestorePointCollectionsClient(), d.compute6.NewRestorePointsClient()
	_, err := collections.CreateOrUpdate(ctx, group, "rpc", armcompute.RestorePointCollection{Location: to.Ptr(site),
		Properties: &armcompute.RestorePointCollectionProperties{Source: &armcompute.RestorePointCollectionSourceProperties{ID: to.Ptr(d.vmID())}}}, nil)
	d.must(err)
	_, err = collections.Update(ctx, group, "rpc", armcompute.RestorePointCollectionUpdate{Tags: map[string]*string{"a": to.Ptr("b")}}, nil)
	d.must(err)
	for _, mode := range []armcompute.ConsistencyModeTypes{armcompute.ConsistencyModeTypesApplicationConsistent, armcompute.ConsistencyModeTypesFileSystemConsistent, armcompute.ConsistencyModeTypesCrashConsistent} {
		made, err := points.BeginCreate(ctx, group, "rpc", string(mode), armcompute.RestorePoint{Properties: &armcompute.RestorePointProperties{ConsistencyMode: &mode}}, nil)
		if p := done(d, made, err); *p.Properties.ProvisioningState != "Succeeded" || p.Properties.SourceMetadata.StorageProfile.OSDisk.DiskRestorePoint == nil {
			d.Errorf("the point %s: %+v", mode, p.Properties)
		}
	}
	const point = string(armcompute.ConsistencyModeTypesCrashConsistent)
	full, err := collections.Get(ctx, group, "rpc", &armcompute.RestorePointCollectionsClientGetOptions{Expand: to.Ptr(armcompute.RestorePointCollectionExpandOptionsRestorePoints)})
	if d.must(err); len(full.Properties.RestorePoints) != 3 {
		d.Errorf("expanded: %+v", full.Properties)
	}
	first(d, collections.NewListPager(group, nil))
	first(d, collections.NewListAllPager(nil))
	view, err := points.Get(ctx, group, "rpc", point, &armcompute.RestorePointsClientGetOptions{Expand: to.Ptr(armcompute.RestorePointExpandOptionsInstanceView)})
	if d.must(err); *view.Properties.InstanceView.DiskRestorePoints[0].ReplicationStatus.CompletionPercent != 100 {
		d.Errorf("instance view: %+v", view.Properties.InstanceView)
	}
	d.readDisk(point)
	gone, err := points.BeginDelete(ctx, group, "rpc", point, nil)
	done(d, gone, err)
	all, err := collections.BeginDelete(ctx, group, "rpc", nil)
	done(d, all, err)
}

// readDisk reads the beginning of a disk of a restore point.
func (d *driver) readDisk(point string) {
	d.Helper()
	ctx, disks := d.Context(), d.compute6.NewDiskRestorePointClient()
	name := *first(d, disks.NewListByRestorePointPager(group, "rpc", point, nil)).Value[0].Name
	_, err := disks.Get(ctx, group, "rpc", point, name, nil)
	d.must(err)
	grant, err := disks.BeginGrantAccess(ctx, group, "rpc", point, name, armcompute.GrantAccessData{Access: to.Ptr(armcompute.AccessLevelRead), DurationInSeconds: to.Ptr[int32](60)}, nil)
	sas := *done(d, grant, err).AccessSAS
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, sas, nil)
	d.must(err)
	req.Header.Set("x-ms-range", "bytes=0-511")
	resp, err := d.rec.next.RoundTrip(req)
	d.must(err)
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusPartialContent || len(b) != 512 {
		d.Errorf("the first sector: %d, %d bytes, %v", resp.StatusCode, len(b), err)
	}
	end, err := disks.BeginRevokeAccess(ctx, group, "rpc", point, name, nil)
	done(d, end, err)
}
