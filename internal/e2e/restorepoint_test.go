package e2e

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"

	"holdfast"
	"holdfast/internal/guestlab"
	"holdfast/internal/matrix"
)

// pointLab is a story whose guest has its disks in a storage pool, and Azure's
// clients for its restore points.
type pointLab struct {
	*story
	pool, vm string // the pool's name; the machine's ARM id
	blobs    policy.ClientOptions
	clients  *armcompute.ClientFactory
	raw      *arm.Client
}

// labOf starts a server for a guest, with a collection "rpc" of it.
func labOf(t *testing.T, g *guestlab.Guest) *pointLab {
	t.Helper()
	l := &pointLab{story: &story{server: serve(t, t.TempDir()), guest: g, dir: guestlab.Dir(t)}, pool: pool(t, g.Dir)}
	l.run("site", "register", "home", "--uri", guestlab.URI, "--resource-group", "lab")
	l.sign()
	if _, err := l.clients.NewRestorePointCollectionsClient().CreateOrUpdate(t.Context(), "lab", "rpc", armcompute.RestorePointCollection{Location: to.Ptr("home"),
		Properties: &armcompute.RestorePointCollectionProperties{Source: &armcompute.RestorePointCollectionSourceProperties{ID: &l.vm}}}, nil); err != nil {
		t.Fatal(err)
	}
	return l
}

// sign signs the clients in to the server that runs now.
func (l *pointLab) sign() {
	l.t.Helper()
	t := l.t
	env, client := l.client()
	at := env["HOLDFAST_ENDPOINT"]
	l.blobs = policy.ClientOptions{Transport: client}
	o := policy.ClientOptions{Transport: client, Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: at, Services: map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Endpoint: at, Audience: at}}}}
	cred, err := azidentity.NewClientSecretCredential(env["HOLDFAST_TENANT_ID"], env["HOLDFAST_CLIENT_ID"], env["HOLDFAST_CLIENT_SECRET"], &azidentity.ClientSecretCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	if l.clients, err = armcompute.NewClientFactory(env["HOLDFAST_SUBSCRIPTION_ID"], cred, &arm.ClientOptions{ClientOptions: o}); err != nil {
		t.Fatal(err)
	}
	if l.raw, err = arm.NewClient("e2e", "v1.0.0", cred, &arm.ClientOptions{ClientOptions: o}); err != nil {
		t.Fatal(err)
	}
	l.vm = "/subscriptions/" + env["HOLDFAST_SUBSCRIPTION_ID"] + "/resourceGroups/lab/providers/Microsoft.Compute/virtualMachines/" + l.guest.Name
}

// ended follows an operation of the clients to its end.
func ended[T any](t *testing.T, p *runtime.Poller[T], err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	v, err := p.PollUntilDone(t.Context(), &runtime.PollUntilDoneOptions{Frequency: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// point makes a restore point of a consistency, named like it.
func (l *pointLab) point(mode armcompute.ConsistencyModeTypes) armcompute.RestorePoint {
	l.t.Helper()
	p, err := l.clients.NewRestorePointsClient().BeginCreate(l.t.Context(), "lab", "rpc", string(mode), armcompute.RestorePoint{Properties: &armcompute.RestorePointProperties{ConsistencyMode: &mode}}, nil)
	return ended(l.t, p, err).RestorePoint
}

// machine makes a machine of a restore point, off.
func (l *pointLab) machine(point, name string) {
	l.t.Helper()
	req, err := runtime.NewRequest(l.t.Context(), "PUT", runtime.JoinPaths(l.raw.Endpoint(), strings.TrimSuffix(l.vm, l.guest.Name)+name)+"?api-version=2024-11-01")
	if err != nil {
		l.t.Fatal(err)
	}
	of := strings.Split(l.vm, "/providers/")[0] + "/providers/"
	body := map[string]any{"location": "home", "properties": map[string]any{"holdfast": map[string]any{"start": false,
		"restorePoint": map[string]any{"id": of + "Microsoft.Compute/restorePointCollections/rpc/restorePoints/" + point}, "storageAccountId": of + "Microsoft.Storage/storageAccounts/" + l.pool}}}
	if err := runtime.MarshalAsJSON(req, body); err != nil {
		l.t.Fatal(err)
	}
	resp, err := l.raw.Pipeline().Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	if !runtime.HasStatusCode(resp, 201) {
		l.t.Fatal(runtime.NewResponseError(resp))
	}
	p, err := runtime.NewPoller[armcompute.VirtualMachine](resp, l.raw.Pipeline(), nil)
	ended(l.t, p, err)
}

// download reads a disk of a restore point with Azure's blob client, and gives the
// file and the disk's ARM id.
func (l *pointLab) download(group, point, target string) (file, id string) {
	l.t.Helper()
	client := l.clients.NewDiskRestorePointClient()
	all, err := client.NewListByRestorePointPager(group, "rpc", point, nil).NextPage(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	p, err := l.clients.NewRestorePointsClient().Get(l.t.Context(), group, "rpc", point, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	id = *p.Properties.SourceMetadata.StorageProfile.OSDisk.DiskRestorePoint.ID
	if target != "vda" {
		id = *p.Properties.SourceMetadata.StorageProfile.DataDisks[0].DiskRestorePoint.ID
	}
	for _, d := range all.Value {
		if *d.ID != id {
			continue
		}
		grant, err := client.BeginGrantAccess(l.t.Context(), group, "rpc", point, *d.Name, armcompute.GrantAccessData{Access: to.Ptr(armcompute.AccessLevelRead), DurationInSeconds: to.Ptr[int32](3600)}, nil)
		b, err := blob.NewClientWithNoCredential(*ended(l.t, grant, err).AccessSAS, &blob.ClientOptions{ClientOptions: l.blobs})
		if err != nil {
			l.t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(l.t.TempDir(), target))
		if err != nil {
			l.t.Fatal(err)
		}
		began := time.Now()
		n, err := b.DownloadFile(l.t.Context(), f, nil)
		l.t.Logf("%s of %s: %d MiB in %v", target, point, n>>20, time.Since(began).Round(time.Millisecond))
		if err := errors.Join(err, f.Close()); err != nil {
			l.t.Fatal(err)
		}
		end, err := client.BeginRevokeAccess(l.t.Context(), group, "rpc", point, *d.Name, nil)
		ended(l.t, end, err)
		return f.Name(), id
	}
	l.t.Fatalf("the disk %s is not listed", id)
	return "", ""
}

// TestRestorePoints makes points of a running machine, reads one's data disk with
// a client of Azure's blobs, and makes a disk of it.
func TestRestorePoints(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "RPT-01", "RPT-18", "RPT-26", "RPO-03", "RPL-05")
	if _, err := exec.LookPath("debugfs"); err != nil {
		t.Skipf("no way to read a file system without mounting it: %v", err)
	}
	g := guestlab.New(t, guestlab.Options{Name: "points", Disks: []guestlab.Disk{{Size: dataSize}}})
	g.Sh("mkfs.ext4 -q /dev/vdb && mkdir -p /data && mount /dev/vdb /data")
	l := labOf(t, g)
	sums := l.fill("first")
	first := l.point(armcompute.ConsistencyModeTypesFileSystemConsistent)
	if *first.Properties.ConsistencyMode != armcompute.ConsistencyModeTypesFileSystemConsistent || *first.Properties.SourceMetadata.VMID != g.UUID {
		t.Errorf("the first point: %+v", first.Properties)
	}
	l.fill("second")
	second := l.point(armcompute.ConsistencyModeTypesCrashConsistent)
	if *second.Properties.ConsistencyMode != armcompute.ConsistencyModeTypesCrashConsistent {
		t.Errorf("the second point: %+v", second.Properties)
	}
	l.unharmed()

	disk, id := l.download("lab", string(armcompute.ConsistencyModeTypesFileSystemConsistent), "vdb")
	for line := range strings.Lines(sums) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		out, err := exec.Command("debugfs", "-R", "cat /"+name, disk).Output()
		if got := fmt.Sprintf("%x", sha256.Sum256(out)); err != nil || got != sum {
			t.Errorf("%s in the disk that was read: %s, %v; the guest had %s", name, got, err, sum)
		}
	}
	if out, err := exec.Command("e2fsck", "-fn", disk).CombinedOutput(); err != nil && !strings.Contains(string(out), "skipping journal recovery") {
		t.Errorf("the file system: %v\n%s", err, out)
	}
	made, err := l.clients.NewDisksClient().BeginCreateOrUpdate(t.Context(), "lab", l.pool+"~back.raw", armcompute.Disk{Location: to.Ptr("home"), Properties: &armcompute.DiskProperties{
		CreationData: &armcompute.CreationData{CreateOption: to.Ptr(armcompute.DiskCreateOptionRestore), SourceResourceID: &id}}}, nil)
	ended(t, made, err)
	if out, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", "qcow2", disk, filepath.Join(g.Dir, "back.raw")).CombinedOutput(); err != nil {
		t.Errorf("the disk that was made: %v: %s", err, out)
	}
	// The second holds the second moment, and was read by what had changed.
	disk, _ = l.download("lab", string(armcompute.ConsistencyModeTypesCrashConsistent), "vdb")
	if out, err := exec.Command("debugfs", "-R", "cat /moment", disk).Output(); err != nil || string(out) != "second\n" {
		t.Errorf("the second point holds the moment %q, %v", out, err)
	}
	l.copied(id)
	gone, err := l.clients.NewRestorePointCollectionsClient().BeginDelete(t.Context(), "lab", "rpc", nil)
	ended(t, gone, err)
}

// copied copies both points to another site, which is the same host by another
// name, and wants the disk of the first to have the same bytes there.
func (l *pointLab) copied(disk string) {
	l.t.Helper()
	ctx, collections := l.t.Context(), l.clients.NewRestorePointCollectionsClient()
	l.run("site", "register", "far", "--uri", "qemu+unix:///system", "--resource-group", "faraway")
	of := strings.Split(disk, "/restorePoints/")[0]
	if _, err := collections.CreateOrUpdate(ctx, "faraway", "rpc", armcompute.RestorePointCollection{Location: to.Ptr("far"),
		Properties: &armcompute.RestorePointCollectionProperties{Source: &armcompute.RestorePointCollectionSourceProperties{ID: &of}}}, nil); err != nil {
		l.t.Fatal(err)
	}
	for _, mode := range []armcompute.ConsistencyModeTypes{armcompute.ConsistencyModeTypesFileSystemConsistent, armcompute.ConsistencyModeTypesCrashConsistent} {
		p, err := l.clients.NewRestorePointsClient().BeginCreate(ctx, "faraway", "rpc", string(mode), armcompute.RestorePoint{Properties: &armcompute.RestorePointProperties{
			SourceRestorePoint: &armcompute.APIEntityReference{ID: to.Ptr(of + "/restorePoints/" + string(mode))}}}, nil)
		if got := ended(l.t, p, err); *got.Properties.ConsistencyMode != mode {
			l.t.Errorf("the copy: %+v", got.Properties)
		}
		here, _ := l.download("lab", string(mode), "vdb")
		there, _ := l.download("faraway", string(mode), "vdb")
		if out, err := exec.Command("cmp", here, there).CombinedOutput(); err != nil {
			l.t.Errorf("the copy of %s has other bytes: %v: %s", mode, err, out)
		}
	}
	// The original goes, and the copies stay.
	gone, err := l.clients.NewRestorePointsClient().BeginDelete(ctx, "lab", "rpc", string(armcompute.ConsistencyModeTypesFileSystemConsistent), nil)
	ended(l.t, gone, err)
	if there, _ := l.download("faraway", string(armcompute.ConsistencyModeTypesFileSystemConsistent), "vdb"); there == "" {
		l.t.Error("the copy went with its original")
	}
	all, err := collections.BeginDelete(ctx, "faraway", "rpc", nil)
	ended(l.t, all, err)
}

// TestRestorePointOfGeneration2 brings a UEFI machine with a TPM back from a
// restore point: the variables and the state byte for byte, and it boots.
func TestRestorePointOfGeneration2(t *testing.T) {
	t.Parallel()
	for _, need := range []string{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/bin/swtpm"} {
		if _, err := os.Stat(need); err != nil {
			t.Skipf("no UEFI or TPM on this machine: %v", err)
		}
	}
	matrix.Covers(t, "RPT-08", "RPT-10")
	g := guestlab.New(t, guestlab.Options{Name: "pointg2", UEFI: true, TPM: true})
	l := labOf(t, g)
	g.Sh("test -d /sys/firmware/efi && echo kept >/root/proof && sync")
	made := l.point(armcompute.ConsistencyModeTypesFileSystemConsistent).Properties.SourceMetadata
	if *made.HyperVGeneration != armcompute.HyperVGenerationTypesV2 || !*made.SecurityProfile.UefiSettings.VTpmEnabled {
		t.Errorf("the point says %+v", made)
	}
	vars, tpm := l.firmware(g.Name)
	g.Destroy()
	if err := g.Host.Undefine(t.Context(), g.UUID); err != nil {
		t.Fatal(err)
	}
	name := g.Name + "-2"
	t.Cleanup(func() { l.forget(name) })
	l.machine(string(armcompute.ConsistencyModeTypesFileSystemConsistent), name)
	gotVars, gotTPM := l.firmware(name)
	if !bytes.Equal(gotVars, vars) {
		t.Error("the UEFI variables are not those of the point")
	}
	for file, want := range tpm {
		if !bytes.Equal(gotTPM[file], want) {
			t.Errorf("the TPM's %s is not that of the point", file)
		}
	}
	d, err := g.Host.DomainNamed(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Host.Start(t.Context(), d.UUID); err != nil {
		t.Fatal(err)
	}
	copied := *g
	copied.Agent = l.boot(name)
	if got := copied.Sh("test -d /sys/firmware/efi && cat /root/proof"); got != "kept\n" {
		t.Errorf("the machine came back with %q", got)
	}
}

// TestKilledInARestorePoint kills the server (-9) while a restore point is made:
// the guest goes on, the next server makes the point, and the one after it is
// incremental.
func TestKilledInARestorePoint(t *testing.T) {
	t.Parallel()
	g := guestlab.New(t, guestlab.Options{Name: "pointkill", Disks: []guestlab.Disk{{Size: dataSize}}})
	g.Sh("mkfs.ext4 -q /dev/vdb && mkdir -p /data && mount /dev/vdb /data")
	l := labOf(t, g)
	mode := armcompute.ConsistencyModeTypesCrashConsistent
	if _, err := l.clients.NewRestorePointsClient().BeginCreate(t.Context(), "lab", "rpc", "killed", armcompute.RestorePoint{Properties: &armcompute.RestorePointProperties{ConsistencyMode: &mode}}, nil); err != nil {
		t.Fatal(err)
	}
	until(t, "a backup job in libvirt", 10*time.Millisecond, func() bool {
		job, err := g.Host.BackupJob(t.Context(), g.UUID)
		return err == nil && job != nil
	})
	l.kill()
	l.server = serve(t, l.data)
	l.sign()
	until(t, "the point is made", time.Second, func() bool {
		p, err := l.clients.NewRestorePointsClient().Get(t.Context(), "lab", "rpc", "killed", nil)
		if err != nil || *p.Properties.ProvisioningState == "Failed" {
			t.Fatalf("%+v, %v", p.Properties, err)
		}
		return *p.Properties.ProvisioningState == "Succeeded"
	})
	l.unharmed()
	l.fill("second")
	l.point(armcompute.ConsistencyModeTypesFileSystemConsistent)
	for _, d := range query[struct {
		Properties struct {
			Holdfast struct{ Disks []holdfast.DiskResult }
		}
	}](l.server, "restore-point", "show", g.Name, string(armcompute.ConsistencyModeTypesFileSystemConsistent)).Properties.Holdfast.Disks {
		if !d.Incremental {
			t.Errorf("after the kill the disk %s was read in full: %s", d.Target, d.Reason)
		}
	}
	l.run("restore-point", "create", g.Name, "by-hand", "--consistency", "CrashConsistent", "--exclude-disk", strings.Split(l.vm, "/virtualMachines/")[0]+"/disks/"+l.pool+"~"+filepath.Base(g.Disks[1]))
	if out := l.run("restore-point", "list", g.Name); strings.Count(out, "Succeeded") != 3 || !strings.Contains(out, "by-hand") || !strings.Contains(out, "WARNINGS") {
		t.Errorf("listed:\n%s", out)
	}
	l.run("restore-point", "delete", g.Name, "by-hand", "--yes")
	if out := l.run("restore-point", "list", g.Name); strings.Contains(out, "by-hand") {
		t.Errorf("deleted, and yet:\n%s", out)
	}
	l.unharmed()
}
