package embedded_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/pageblob"

	"holdfast"
	"holdfast/internal/authz"
	"holdfast/internal/embedded"
)

// TestReadADiskRestorePoint: a client of Azure's blobs reads a disk by the URL
// that beginGetAccess gives, for as long as that holds.
func TestReadADiskRestorePoint(t *testing.T) {
	t.Parallel()
	var later atomic.Int64
	p := servePoints(t, func(c *embedded.Config, w *world) {
		c.Clock = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	p.site(t, "site1", "qemu:///system", "lab")
	p.collection(t, "lab", "rpc", "site1", p.vmID("web"))
	p.point(t, "lab", "rpc", "one", armcompute.RestorePointProperties{})
	disks := page(t, p.disks.NewListByRestorePointPager("lab", "rpc", "one", nil)).Value
	if len(disks) != 2 || *disks[0].Properties.CompletionPercent != 100 || *disks[0].Properties.OSType != armcompute.OperatingSystemTypesLinux || *disks[1].Properties.SourceResourceID != *page(t, p.disks.NewListByRestorePointPager("lab", "rpc", "one", nil)).Value[1].Properties.SourceResourceID {
		t.Fatalf("disks: %+v", disks)
	}
	d, err := p.disks.Get(t.Context(), "lab", "rpc", "one", *disks[1].Name, nil)
	if err != nil || *d.ID != *disks[1].ID || *d.Properties.ReplicationState != "Succeeded" {
		t.Fatalf("disk: %+v, %v", d, err)
	}
	want := p.store.points[pointKey(p.store.asked[0].Operational, p.store.asked[0].PointID)]["vdb"]

	sas := p.access(t, "lab", "rpc", "one", *d.Name, armcompute.GrantAccessData{DurationInSeconds: to.Ptr[int32](600)})
	client, err := blob.NewClientWithNoCredential(sas, &blob.ClientOptions{ClientOptions: policy.ClientOptions{Transport: p.hc}})
	if err != nil {
		t.Fatal(err)
	}
	props, err := client.GetProperties(t.Context(), nil)
	if err != nil || *props.ContentLength != diskSize || *props.BlobType != blob.BlobTypePageBlob || props.ETag == nil || props.LastModified == nil {
		t.Fatalf("properties: %+v, %v", props, err)
	}
	stream, err := client.DownloadStream(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(stream.Body); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the stream: %d bytes, %v", len(got), err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := client.DownloadFile(t.Context(), f, &blob.DownloadFileOptions{BlockSize: 1<<20 + 1, Concurrency: 3}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file: %d bytes, %v", len(got), err)
	}
	part, err := client.DownloadStream(t.Context(), &blob.DownloadStreamOptions{Range: blob.HTTPRange{Offset: 1000, Count: 3000}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(part.Body); err != nil || !bytes.Equal(got, want[1000:4000]) || *part.ContentRange != fmt.Sprintf("bytes 1000-3999/%d", diskSize) {
		t.Errorf("a range: %d bytes, %v, %v", len(got), part.ContentRange, err)
	}
	if _, err := client.DownloadStream(t.Context(), &blob.DownloadStreamOptions{Range: blob.HTTPRange{Offset: diskSize + 1, Count: 1}}); status(err) != 416 {
		t.Errorf("behind the end: %v", err)
	}
	if _, err := client.DownloadStream(t.Context(), &blob.DownloadStreamOptions{AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: to.Ptr(azcore.ETag(`"other"`))}}}); status(err) != 412 {
		t.Errorf("another one: %v", err)
	}
	pageBlob, err := pageblob.NewClientWithNoCredential(sas, &pageblob.ClientOptions{ClientOptions: policy.ClientOptions{Transport: p.hc}})
	if err != nil {
		t.Fatal(err)
	}
	ranges := page(t, pageBlob.NewGetPageRangesPager(&pageblob.GetPageRangesOptions{Range: blob.HTTPRange{Offset: 1024, Count: 3 << 20}})).PageRange
	if len(ranges) != 2 || *ranges[0].Start != 1024 || *ranges[0].End != 1<<20-1 || *ranges[1].Start != 2<<20 || *ranges[1].End != 2<<20+511 {
		t.Errorf("pages: %v", ranges)
	}

	// As a fixed VHD, as Azure gives it.
	vhd := p.access(t, "lab", "rpc", "one", *d.Name, armcompute.GrantAccessData{DurationInSeconds: to.Ptr[int32](60), FileFormat: to.Ptr(armcompute.FileFormatVHD)})
	if got := p.fetch(t, vhd, 200); len(got) != diskSize+512 || !bytes.Equal(got[:diskSize], want) || string(got[diskSize:diskSize+8]) != "conectix" {
		t.Errorf("the VHD: %d bytes", len(got))
	}

	// Who has no secret has nothing, and says so with words of the blob service.
	wrong := strings.Replace(sas, "sig=", "sig=x", 1)
	if text := string(p.fetch(t, wrong, 403)); !strings.Contains(text, "<Code>AuthenticationFailed</Code>") {
		t.Errorf("a wrong signature: %s", text)
	}
	for _, c := range [][2]string{{"se=2", "se=3"}, {"sp=r", "sp=rw"}, {"se=2", "xse=2"}} { // what the URL says of itself is a part of it
		if changed := strings.Replace(sas, c[0], c[1], 1); changed == sas {
			t.Errorf("%s has no %s", sas, c[0])
		} else if text := string(p.fetch(t, changed, 403)); !strings.Contains(text, "<Code>AuthenticationFailed</Code>") {
			t.Errorf("%s: %s", c[1], text)
		}
	}
	later.Store(int64(61 * time.Second))
	p.fetch(t, vhd, 403) // expired
	p.fetch(t, sas, 200)
	ended, err := p.disks.BeginRevokeAccess(t.Context(), "lab", "rpc", "one", *d.Name, nil)
	done(t, ended, err)
	p.fetch(t, sas, 403)
	sas = p.access(t, "lab", "rpc", "one", *d.Name, armcompute.GrantAccessData{DurationInSeconds: to.Ptr[int32](600)})
	gone, err := p.points.BeginDelete(t.Context(), "lab", "rpc", "one", nil)
	done(t, gone, err)
	p.fetch(t, sas, 404)
	const at = "~G/providers/Microsoft.Compute/restorePointCollections/rpc/restorePoints/one/diskRestorePoints/"
	p.point(t, "lab", "rpc", "two", armcompute.RestorePointProperties{ConsistencyMode: to.Ptr(armcompute.ConsistencyModeTypesCrashConsistent)})
	two := strings.Replace(at, "/one/", "/two/", 1) + *page(t, p.disks.NewListByRestorePointPager("lab", "rpc", "two", nil)).Value[0].Name
	p.refuses(t, []refused{
		{"no disk", "POST", strings.Replace(at, "/one/", "/two/", 1) + "x/beginGetAccess", `{"access":"Read","durationInSeconds":1}`, 404, "ResourceNotFound", "x"},
		{"to write", "POST", two + "/beginGetAccess", `{"access":"Write","durationInSeconds":1}`, 400, "InvalidParameter", "access"},
		{"for no time", "POST", two + "/beginGetAccess", `{"access":"Read"}`, 400, "InvalidParameter", "durationInSeconds"},
		{"as VHDX", "POST", two + "/beginGetAccess", `{"access":"Read","durationInSeconds":1,"fileFormat":"VHDX"}`, 409, "OperationNotAllowed", "fileFormat"},
	})
}

// fetch reads a URL without signing in.
func (r *running) fetch(t *testing.T, url string, want int) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := r.hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want {
		t.Errorf("GET: %d %v, want %d", resp.StatusCode, err, want)
	}
	return b
}

// TestDiskOfARestorePoint makes a disk of one in a restore point, for who may
// read the point.
func TestDiskOfARestorePoint(t *testing.T) {
	t.Parallel()
	p := servePoints(t, nil)
	p.site(t, "site1", "qemu:///system", "lab")
	p.collection(t, "lab", "rpc", "site1", p.vmID("web"))
	p.point(t, "lab", "rpc", "one", armcompute.RestorePointProperties{})
	from := page(t, p.disks.NewListByRestorePointPager("lab", "rpc", "one", nil)).Value[1].ID
	disks, err := armcompute.NewDisksClient(p.sub, p.cred, p.options)
	if err != nil {
		t.Fatal(err)
	}
	poller, err := disks.BeginCreateOrUpdate(t.Context(), "lab", "back", armcompute.Disk{Location: to.Ptr("site1"), Properties: &armcompute.DiskProperties{
		CreationData: &armcompute.CreationData{CreateOption: to.Ptr(armcompute.DiskCreateOptionRestore), SourceResourceID: from}}}, nil)
	done(t, poller, err)
	if a := p.world.restores[0]; a.Repository != p.store.asked[0].Operational || a.PointID != p.store.asked[0].PointID || !slices.Equal(a.LUNs, []int{0}) || a.FileName != "back" || a.Mode != holdfast.RestoreDisks {
		t.Errorf("restored: %+v", a)
	}
	group := "/subscriptions/" + p.sub + "/resourceGroups/lab/providers/Microsoft.Compute/disks/"
	// While it is made the point stays.
	p.world.hold = make(chan struct{})
	again, err := disks.BeginCreateOrUpdate(t.Context(), "lab", "held", armcompute.Disk{Location: to.Ptr("site1"), Properties: &armcompute.DiskProperties{
		CreationData: &armcompute.CreationData{CreateOption: to.Ptr(armcompute.DiskCreateOptionRestore), SourceResourceID: from}}}, nil)
	const at = "~G/providers/Microsoft.Compute/restorePointCollections/rpc"
	p.refuses(t, []refused{
		{"the point", "DELETE", at + "/restorePoints/one", "", 409, "Conflict", "restore from a point"},
		{"the collection", "DELETE", at, "", 409, "Conflict", "restore from a point"},
	})
	close(p.world.hold)
	done(t, again, err)
	body := `{"location":"site1","properties":{"creationData":{"createOption":"Restore","sourceResourceId":"` + *from + `"}}}`
	bearer := p.member(t, authz.Contributor, group+"stolen")
	if code, word := p.as(t, bearer, "PUT", group+"stolen?api-version=2024-03-02", body); code != 403 || word != "AuthorizationFailed" {
		t.Errorf("a point of others: %d %s", code, word)
	}
	// A machine of the point, with all that is in it.
	one := strings.Split(*from, "/diskRestorePoints/")[0]
	machine := func(more string) string {
		return `{"location":"site1","properties":{"holdfast":{"restorePoint":{"id":"` + one + `"},"storageAccountId":"~G/providers/Microsoft.Storage/storageAccounts/default"` + more + `}}}`
	}
	p.follow(t, "PUT", p.vmID("new"), strings.ReplaceAll(machine(`,"start":false`), "~G", "/subscriptions/"+p.sub+"/resourceGroups/lab"), 201)
	if a := p.world.restores[2]; a.Mode != holdfast.CreateVM || a.VMName != "new" || a.Start || a.Pool != "default" || a.PointID != p.store.asked[0].PointID || a.Repository != p.store.asked[0].Operational || a.NamePrefix != "new" {
		t.Errorf("restored: %+v", a)
	}
	p.world.mu.Lock()
	p.world.pools = []holdfast.PoolFact{{Name: "other", Path: "/other", Type: "dir"}}
	p.world.mu.Unlock()
	p.refuses(t, []refused{
		{"a machine that is there", "PUT", p.vmID("db"), machine(""), 409, "Conflict", "there already"},
		{"a machine elsewhere", "PUT", p.vmID("x"), strings.Replace(machine(""), "site1", "mars", 1), 409, "OperationNotAllowed", "comes back there"},
		{"a machine of no point", "PUT", p.vmID("x"), strings.Replace(machine(""), one, one+"x", 1), 404, "ResourceNotFound", "restore point"},
		{"without a pool", "PUT", p.vmID("x"), strings.Replace(machine(""), "storageAccountId", "other", 1), 400, "InvalidParameter", "where the disks go"},
		{"of no disk", "PUT", group + "x", strings.Replace(body, *from, *from+"x", 1), 404, "ResourceNotFound", "disk restore point"},
		{"another size", "PUT", group + "x", strings.Replace(body, `"creationData"`, `"diskSizeGB":9,"creationData"`, 1), 409, "OperationNotAllowed", "size"},
	})
	// Nor does who owns a group only get a machine's bytes by a collection there.
	if code, _, _ := p.send(t, "PUT", "/subscriptions/"+p.sub+"/resourceGroups/mine?api-version=2021-04-01", `{"location":"site1"}`); code != 201 {
		t.Fatal(code)
	}
	bearer = p.member(t, authz.Contributor, "/subscriptions/"+p.sub+"/resourceGroups/mine")
	if code, word := p.as(t, bearer, "PUT", "/subscriptions/"+p.sub+"/resourceGroups/mine/providers/Microsoft.Compute/restorePointCollections/c?api-version=2024-11-01", `{"location":"site1","properties":{"source":{"id":"`+p.vmID("web")+`"}}}`); code != 403 || word != "AuthorizationFailed" {
		t.Errorf("a machine of others: %d %s", code, word)
	}
}
