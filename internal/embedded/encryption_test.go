package embedded_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"

	"holdfast"
	"holdfast/internal/disk/disktest"
	"holdfast/internal/embedded"
	"holdfast/internal/keyring/keyringtest"
	"holdfast/internal/limits"
	"holdfast/internal/matrix"
	"holdfast/internal/mover"
	"holdfast/internal/mover/capture"
	opened "holdfast/internal/mover/content"
	"holdfast/internal/mover/deletion"
	"holdfast/internal/mover/provision"
	"holdfast/internal/mover/restorepoint"
	"holdfast/internal/objstore"
	"holdfast/internal/objstore/open"
	"holdfast/internal/repository"
)

// sealing makes points of a world's machines in real repositories.
type sealing struct {
	*world
	opener *mover.Opener
	copies restorepoint.Mover
}

const guestWrote = "what the guest wrote and nobody else may read"

// Run is the mover of restore points without a host: what is captured is the same
// text in each disk.
func (s *sealing) Run(ctx context.Context, a holdfast.RestorePointArgs, p holdfast.Progress) (r holdfast.RestorePointResult, err error) {
	if a.Source != nil {
		return s.copies.Run(ctx, a, p)
	}
	repo, _, err := s.opener.Operational(ctx, a.Operational)
	if err != nil {
		return r, mover.Explain(err, "VM "+a.VM.Name)
	}
	w, err := repo.Begin(ctx, repository.PointSpec{ID: a.PointID, Series: a.VM.UUID, Created: time.Now()})
	if err != nil {
		return r, err
	}
	defer w.Abort()
	vm, err := s.VM(ctx, a.Site, a.VM.Name)
	if err != nil {
		return r, err
	}
	man := mover.Manifest{Version: mover.ManifestVersion, VM: vm, Time: time.Now().UTC(), Consistency: holdfast.FileSystemConsistent}
	for _, k := range vm.Disks {
		if _, err := w.Disk(ctx, repository.DiskSpec{Name: k.Target}, &disktest.Disk{Bytes: bytes.Repeat([]byte(guestWrote), 4096)}); err != nil {
			return r, err
		}
		man.Disks = append(man.Disks, mover.ManifestDisk{Fact: k, Cost: holdfast.DiskResult{LUN: k.LUN, Target: k.Target, Size: int64(len(guestWrote)) * 4096}})
	}
	_, err = w.Commit(ctx, repository.Manifest{Time: man.Time, Attributes: holdfast.Marshal(man)})
	return holdfast.RestorePointResult{PointID: a.PointID, Time: man.Time, Consistency: man.Consistency, VM: vm, Disks: man.Costs()}, err
}

func (*sealing) Undo(context.Context, holdfast.RestorePointArgs) (bool, error) { return false, nil }
func (*sealing) Forget(context.Context, holdfast.RestorePointArgs) error       { return nil }

// provisioner is the world's, with the real answer of key services.
type provisioner struct{ *world }

func (provisioner) TryKey(ctx context.Context, url string) error {
	return provision.Mover{}.TryKey(ctx, url)
}

// serveSealing starts a server with two sites over real repositories.
func serveSealing(t *testing.T) *points {
	t.Helper()
	dir := t.TempDir()
	o := &mover.Opener{KeyDir: filepath.Join(dir, "keys"), CacheDir: filepath.Join(dir, "cache"), Owner: repository.Owner{ID: dir, Instance: rand.Text()},
		OpenStore: func(ctx context.Context, url string, create bool) (objstore.Store, error) {
			if create {
				return open.Create(ctx, url)
			}
			return open.Open(ctx, url)
		}}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	p := servePointsIn(t, dir, func(c *embedded.Config, w *world) {
		c.Provisioner, w.vms = provisioner{w}, w.vms[:1] // the other one has the same disks
		c.Limits = limits.Extended
		c.RestorePoint = &sealing{w, o, restorepoint.Mover{Capture: &capture.Maker{Opener: o}, Repositories: o.Repository}}
		c.Contents, c.Delete = opened.Mover{Repositories: o.Repository}, deletion.Mover{Repositories: o.Repository}
	})
	p.site(t, "site1", "qemu:///system", "lab")
	p.site(t, "site2", "qemu:///session", "far")
	return p
}

// set makes a disk encryption set.
func (p *points) set(t *testing.T, name, location string, kind armcompute.DiskEncryptionSetType) armcompute.DiskEncryptionSet {
	t.Helper()
	poller, err := p.sets(t).BeginCreateOrUpdate(t.Context(), "lab", name, armcompute.DiskEncryptionSet{Location: &location,
		Identity:   &armcompute.EncryptionSetIdentity{Type: to.Ptr(armcompute.DiskEncryptionSetIdentityTypeSystemAssigned)},
		Properties: &armcompute.EncryptionSetProperties{EncryptionType: &kind, ActiveKey: &armcompute.KeyForDiskEncryptionSet{KeyURL: to.Ptr("hashivault://" + name)}}}, nil)
	return done(t, poller, err).DiskEncryptionSet
}

func (p *points) sets(t *testing.T) *armcompute.DiskEncryptionSetsClient {
	t.Helper()
	c, err := armcompute.NewDiskEncryptionSetsClient(p.sub, p.cred, p.options)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// names lets a data disk of the machine web name a set.
func (p *points) names(t *testing.T, set string) {
	t.Helper()
	c, err := armcompute.NewDisksClient(p.sub, p.cred, p.options)
	if err != nil {
		t.Fatal(err)
	}
	poller, err := c.BeginUpdate(t.Context(), "lab", "b", armcompute.DiskUpdate{Properties: &armcompute.DiskUpdateProperties{Encryption: &armcompute.Encryption{DiskEncryptionSetID: &set}}}, nil)
	if d := done(t, poller, err); *d.Properties.Encryption.DiskEncryptionSetID != set {
		t.Errorf("the disk names %+v", d.Properties.Encryption)
	}
}

// says is the status and the body of a GET without a sign-in.
func (p *points) says(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := p.hc.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b.String()
}

// TestCustomersKeys: points under the keys of customers. The tests share a key
// service: a process asks one only.
func TestCustomersKeys(t *testing.T) {
	matrix.Covers(t, "RPT-27", "RPT-28", "RPL-05")
	k := keyringtest.New(t)
	t.Run("one key", func(t *testing.T) { customersKey(t, k) })
	t.Run("both keys", func(t *testing.T) { bothKeys(t, k) })
}

// customersKey: a point of a machine whose disks name a disk encryption set is
// sealed under the set's key. Taken away, the key takes every point with it, at once
// and by name, but the copy at another site, which is under the platform's; given
// back, it brings them back.
func customersKey(t *testing.T, k *keyringtest.Service) {
	p := serveSealing(t)
	e := p.set(t, "mine", "site1", armcompute.DiskEncryptionSetTypeEncryptionAtRestWithCustomerKey)
	p.names(t, *e.ID)
	c := p.collection(t, "lab", "rpc", "site1", p.vmID("web"))
	one := p.point(t, "lab", "rpc", "one", armcompute.RestorePointProperties{})
	for _, d := range page(t, p.disks.NewListByRestorePointPager("lab", "rpc", "one", nil)).Value { // the mixed machine is whole under the customer's
		if x := d.Properties.Encryption; *x.Type != armcompute.EncryptionTypeEncryptionAtRestWithCustomerKey || *x.DiskEncryptionSetID != *e.ID {
			t.Errorf("%s: %s", *d.Name, *x.Type)
		}
	}
	if x := one.Properties.SourceMetadata.StorageProfile.OSDisk.DiskRestorePoint.Encryption; *x.DiskEncryptionSet.ID != *e.ID || *x.Type != armcompute.RestorePointEncryptionTypeEncryptionAtRestWithCustomerKey {
		t.Errorf("the point's metadata: %+v", x)
	}
	disk := *page(t, p.disks.NewListByRestorePointPager("lab", "rpc", "one", nil)).Value[1].Name
	sas := p.access(t, "lab", "rpc", "one", disk, armcompute.GrantAccessData{DurationInSeconds: to.Ptr[int32](600)})
	if code, body := p.says(t, sas); code != 200 || !strings.HasPrefix(body, guestWrote) {
		t.Fatalf("with the key: %d", code)
	}
	p.collection(t, "far", "copies", "site2", *c.ID)
	ask := armcompute.RestorePointProperties{SourceRestorePoint: &armcompute.APIEntityReference{ID: one.ID}}
	p.point(t, "far", "copies", "one", ask)

	k.Set(func() { k.Away = true })
	if code, body := p.says(t, sas); code == 200 || !strings.Contains(body, "hashivault://mine") || strings.Contains(body, guestWrote) {
		t.Errorf("without the key: %d %s", code, body)
	}
	for what, fails := range map[string]func() error{
		"another point": func() error {
			poller, err := p.points.BeginCreate(t.Context(), "lab", "rpc", "two", armcompute.RestorePoint{}, nil)
			return failing(t, poller, err)
		},
		"another set": func() error {
			poller, err := p.sets(t).BeginCreateOrUpdate(t.Context(), "lab", "other", armcompute.DiskEncryptionSet{Location: to.Ptr("site1"),
				Properties: &armcompute.EncryptionSetProperties{ActiveKey: &armcompute.KeyForDiskEncryptionSet{KeyURL: to.Ptr("hashivault://mine")}}}, nil)
			return failing(t, poller, err)
		},
	} {
		if err := fails(); err == nil || !strings.Contains(err.Error(), "hashivault://mine") {
			t.Errorf("%s without the key: %v", what, err)
		}
	}
	far := page(t, p.disks.NewListByRestorePointPager("far", "copies", "one", nil)).Value[1]
	if *far.Properties.Encryption.Type != armcompute.EncryptionTypeEncryptionAtRestWithPlatformKey {
		t.Errorf("the copy: %+v", far.Properties.Encryption)
	}
	if code, body := p.says(t, p.access(t, "far", "copies", "one", *far.Name, armcompute.GrantAccessData{DurationInSeconds: to.Ptr[int32](600)})); code != 200 || !strings.HasPrefix(body, guestWrote) {
		t.Errorf("the copy without the customer's key: %d", code)
	}

	k.Set(func() { k.Away, k.Key[0] = false, k.Key[0]^1 })
	if code, body := p.says(t, sas); code == 200 || strings.Contains(body, guestWrote) {
		t.Errorf("with another key of that name: %d", code)
	}
	k.Set(func() { k.Key[0] ^= 1 })
	if code, body := p.says(t, sas); code != 200 || !strings.HasPrefix(body, guestWrote) {
		t.Errorf("with the key again: %d %s", code, body)
	}
	if found := holding(t, p.dir, guestWrote); found != "" {
		t.Errorf("%s has it in the clear", found)
	}

	// Who takes the key away takes the point: it goes from the list without it.
	p.refuses(t, []refused{{"a set that is used", "DELETE", *e.ID, "", 409, "Conflict", "named by 1 disks"}})
	k.Set(func() { k.Away = true })
	gone, err := p.points.BeginDelete(t.Context(), "lab", "rpc", "one", nil)
	done(t, gone, err)
	if code, _ := p.says(t, sas); code == 200 {
		t.Error("it can be read still")
	}
	k.Set(func() { k.Away = false })
}

// failing follows an operation that does not end well.
func failing[T any](t *testing.T, p interface {
	Poll(context.Context) (*http.Response, error)
	Done() bool
	Result(context.Context) (T, error)
}, err error) error {
	t.Helper()
	for err == nil && !p.Done() {
		if _, err := p.Poll(t.Context()); err != nil {
			return err
		}
	}
	if err == nil {
		_, err = p.Result(t.Context())
	}
	return err
}

// holding is a file below a directory that has a text in it.
func holding(t *testing.T, dir, text string) (found string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(text)) {
			found = path
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// bothKeys: double encryption is two layers under two keys, and each alone opens
// nothing.
func bothKeys(t *testing.T, k *keyringtest.Service) {
	p := serveSealing(t)
	e := p.set(t, "mine", "site1", armcompute.DiskEncryptionSetTypeEncryptionAtRestWithPlatformAndCustomerKeys)
	p.names(t, *e.ID)
	p.collection(t, "lab", "rpc", "site1", p.vmID("web"))
	p.point(t, "lab", "rpc", "one", armcompute.RestorePointProperties{})
	disk := page(t, p.disks.NewListByRestorePointPager("lab", "rpc", "one", nil)).Value[0]
	if *disk.Properties.Encryption.Type != armcompute.EncryptionTypeEncryptionAtRestWithPlatformAndCustomerKeys {
		t.Errorf("the disk: %+v", disk.Properties.Encryption)
	}
	sas := p.access(t, "lab", "rpc", "one", *disk.Name, armcompute.GrantAccessData{DurationInSeconds: to.Ptr[int32](600)})
	if code, body := p.says(t, sas); code != 200 || !strings.HasPrefix(body, guestWrote) {
		t.Fatalf("with both keys: %d", code)
	}
	objects := 0
	err := filepath.WalkDir(filepath.Join(p.dir, "operational"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if objects++; !bytes.HasPrefix(b, []byte("HFLAYER1")) {
			t.Errorf("%s has no second layer", path)
		}
		return err
	})
	if err != nil || objects < 5 {
		t.Errorf("%d objects, %v", objects, err)
	}
	own, err := filepath.Glob(filepath.Join(p.dir, "keys", "operational-site1.*.key"))
	if err != nil || len(own) != 1 {
		t.Fatalf("the server's keys: %v, %v", own, err)
	}
	reopened := func() error { // by a server that has just started
		o := &mover.Opener{KeyDir: filepath.Dir(own[0]), CacheDir: t.TempDir(), Owner: repository.Owner{ID: "x", Instance: rand.Text()},
			OpenStore: func(ctx context.Context, url string, _ bool) (objstore.Store, error) { return open.Open(ctx, url) }}
		defer o.Close()
		name := strings.TrimSuffix(filepath.Base(own[0]), ".key")
		_, err := o.Repository(t.Context(), holdfast.RepositoryRef{URL: "file://" + filepath.Join(p.dir, "operational", strings.TrimPrefix(name, "operational-")), KeyID: name,
			Quick: true, KeyURL: "hashivault://mine", Revocable: true, Twice: true})
		return err
	}
	if err := reopened(); err != nil {
		t.Fatalf("with both keys: %v", err)
	}
	if err := os.Rename(own[0], own[0]+".away"); err != nil {
		t.Fatal(err)
	}
	if err := reopened(); holdfast.KindOf(err) != holdfast.WrongKey || !strings.Contains(err.Error(), "no key") {
		t.Errorf("without the server's key: %v", err)
	}
	if err := os.Rename(own[0]+".away", own[0]); err != nil {
		t.Fatal(err)
	}
	k.Set(func() { k.Away = true })
	if err := reopened(); holdfast.KindOf(err) != holdfast.WrongKey || !strings.Contains(err.Error(), "hashivault://mine") {
		t.Errorf("without the customer's key: %v", err)
	}
}

// TestEncryptionSets: a set is a resource, and what it cannot be is refused.
func TestEncryptionSets(t *testing.T) {
	t.Parallel()
	p := servePoints(t, func(_ *embedded.Config, w *world) { w.vms = w.vms[:1] })
	p.site(t, "site1", "qemu:///system", "lab")
	p.site(t, "site2", "qemu:///session", "far")
	sets := p.sets(t)
	e := p.set(t, "one", "site1", armcompute.DiskEncryptionSetTypeEncryptionAtRestWithCustomerKey)
	p.set(t, "two", "site1", armcompute.DiskEncryptionSetTypeEncryptionAtRestWithPlatformAndCustomerKeys)
	far := p.set(t, "far", "site2", armcompute.DiskEncryptionSetTypeEncryptionAtRestWithCustomerKey)
	if *e.Properties.ActiveKey.KeyURL != "hashivault://one" || *e.Identity.Type != "SystemAssigned" || *e.Properties.ProvisioningState != "Succeeded" || *e.Location != "site1" {
		t.Errorf("made: %+v", e.Properties)
	}
	if n, m := len(page(t, sets.NewListByResourceGroupPager("lab", nil)).Value), len(page(t, sets.NewListPager(nil)).Value); n != 3 || m != 3 {
		t.Errorf("listed: %d, %d", n, m)
	}
	tagged, err := sets.BeginUpdate(t.Context(), "lab", "one", armcompute.DiskEncryptionSetUpdate{Tags: map[string]*string{"a": to.Ptr("1")}}, nil)
	if got := done(t, tagged, err); *got.Tags["a"] != "1" || *got.Properties.ActiveKey.KeyURL != "hashivault://one" {
		t.Errorf("tagged: %+v", got)
	}
	p.names(t, *e.ID)
	if users := page(t, sets.NewListAssociatedResourcesPager("lab", "one", nil)).Value; len(users) != 1 || !strings.HasSuffix(*users[0], "/disks/b") {
		t.Errorf("its users: %v", users)
	}
	at := "~G/providers/Microsoft.Compute/diskEncryptionSets/"
	key := func(url string) string {
		return `{"location":"site1","properties":{"activeKey":{"keyUrl":"` + url + `"}}}`
	}
	vm := func(os, data string) string {
		return `{"properties":{"storageProfile":{"osDisk":{"managedDisk":{"diskEncryptionSet":{"id":"` + os + `"}}},"dataDisks":[{"lun":0,"name":"vdb","managedDisk":{"diskEncryptionSet":{"id":"` + data + `"}}}]}}}`
	}
	p.refuses(t, []refused{
		{"no key", "PUT", at + "x", `{"location":"site1"}`, 400, "InvalidParameter", "keyUrl"},
		{"the key itself", "PUT", at + "x", key("base64key://abc"), 400, "InvalidParameter", "itself the key"},
		{"a key that is not there", "PUT", at + "x", key("hashivault://x/none"), 409, "WrongKey", "no such key"},
		{"of confidential machines", "PUT", at + "x", `{"location":"site1","properties":{"encryptionType":"ConfidentialVmEncryptedWithCustomerKey","activeKey":{"keyUrl":"hashivault://x"}}}`, 409, "OperationNotAllowed", "encryptionType"},
		{"nowhere", "PUT", at + "x", strings.Replace(key("hashivault://x"), "site1", "mars", 1), 400, "InvalidParameter", "location"},
		{"another key", "PUT", at + "one", key("hashivault://two"), 409, "OperationNotAllowed", "does not change"},
		{"another kind", "PATCH", at + "one", `{"properties":{"encryptionType":"EncryptionAtRestWithPlatformAndCustomerKeys"}}`, 409, "OperationNotAllowed", "does not change"},
		{"a set that is not there", "PATCH", p.vmID("web"), vm(*e.ID+"0", *e.ID), 400, "InvalidParameter", "no such disk encryption set"},
		{"a set of another site", "PATCH", p.vmID("web"), vm(*far.ID, *e.ID), 400, "InvalidParameter", "site2"},
		{"a disk of no machine", "PUT", "~G/providers/Microsoft.Compute/disks/new", `{"location":"site1","properties":{"diskSizeGB":1,"creationData":{"createOption":"Empty"},"encryption":{"diskEncryptionSetId":"` + *e.ID + `"}}}`, 409, "OperationNotAllowed", "Attach"},
		{"a group with it", "DELETE", at + "one", "", 409, "Conflict", "named by"},
	})
	// Two keys are refused where something would be sealed.
	poller, err := p.vms.BeginUpdate(t.Context(), "lab", "web", armcompute.VirtualMachineUpdate{Properties: &armcompute.VirtualMachineProperties{StorageProfile: &armcompute.StorageProfile{
		OSDisk: &armcompute.OSDisk{CreateOption: to.Ptr(armcompute.DiskCreateOptionTypesAttach), ManagedDisk: &armcompute.ManagedDiskParameters{DiskEncryptionSet: &armcompute.DiskEncryptionSetParameters{ID: to.Ptr(strings.Replace(*e.ID, "/one", "/two", 1))}}}}}}, nil)
	done(t, poller, err)
	p.collection(t, "lab", "rpc", "site1", p.vmID("web"))
	const point = "~G/providers/Microsoft.Compute/restorePointCollections/rpc/restorePoints/p"
	p.refuses(t, []refused{{"two sets", "PUT", point, `{}`, 409, "OperationNotAllowed", "two disk encryption sets"}})
	p.disksName(t, "")
	gone, err := sets.BeginDelete(t.Context(), "lab", "one", nil)
	done(t, gone, err)
	p.point(t, "lab", "rpc", "p", armcompute.RestorePointProperties{})
	if a := p.store.asked[0].Operational; a.Revocable || a.KeyURL != "" {
		t.Errorf("the point of disks that name no set goes to %+v", a)
	}
}

// disksName lets both disks of the machine web name a set; "" is none.
func (p *points) disksName(t *testing.T, set string) {
	t.Helper()
	for _, name := range []string{"a", "b"} {
		body := `{"properties":{"encryption":{"type":"EncryptionAtRestWithPlatformKey","diskEncryptionSetId":"` + set + `"}}}`
		if code, out, _ := p.send(t, "PATCH", "/subscriptions/"+p.sub+"/resourceGroups/lab/providers/Microsoft.Compute/disks/"+name+"?api-version=2024-03-02", body); code != 200 {
			t.Fatalf("disk %s: %d %v", name, code, out)
		}
	}
}

// TestEncryptionAtHost: that a machine is encrypted at its host is kept, with whatever
// keys its disks are under, in the point and in what a machine is made of.
func TestEncryptionAtHost(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "RPT-29")
	p := servePoints(t, func(c *embedded.Config, w *world) { w.vms, c.Limits = w.vms[:1], limits.Extended })
	p.site(t, "site1", "qemu:///system", "lab")
	poller, err := p.vms.BeginUpdate(t.Context(), "lab", "web", armcompute.VirtualMachineUpdate{Properties: &armcompute.VirtualMachineProperties{
		SecurityProfile: &armcompute.SecurityProfile{EncryptionAtHost: to.Ptr(true)}}}, nil)
	if vm := done(t, poller, err); !*vm.Properties.SecurityProfile.EncryptionAtHost {
		t.Errorf("the machine: %+v", vm.Properties.SecurityProfile)
	}
	p.collection(t, "lab", "rpc", "site1", p.vmID("web"))
	for name, kind := range map[string]armcompute.DiskEncryptionSetType{"platform": "", "customer": armcompute.DiskEncryptionSetTypeEncryptionAtRestWithCustomerKey,
		"both": armcompute.DiskEncryptionSetTypeEncryptionAtRestWithPlatformAndCustomerKeys} {
		set := ""
		if kind != "" {
			set = *p.set(t, name, "site1", kind).ID
		}
		p.disksName(t, set)
		m := p.point(t, "lab", "rpc", name, armcompute.RestorePointProperties{}).Properties.SourceMetadata
		if m.SecurityProfile == nil || !*m.SecurityProfile.EncryptionAtHost {
			t.Errorf("%s: the point's security profile is %+v", name, m.SecurityProfile)
		}
		got := m.StorageProfile.OSDisk.ManagedDisk.DiskEncryptionSet
		if (got == nil) != (set == "") || got != nil && *got.ID != set {
			t.Errorf("%s: the point's disk names %+v", name, got)
		}
	}
}

// TestBackupsOfASet: a backup's point is first in the repository of the set that the
// disks name, and one that waits there is copied after they name another.
func TestBackupsOfASet(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "RPT-27")
	p := servePoints(t, func(c *embedded.Config, w *world) { w.vms = w.vms[:1] })
	lab(t, p.sdk)
	p.protect(t)
	e := p.set(t, "mine", "site1", armcompute.DiskEncryptionSetTypeEncryptionAtRestWithCustomerKey)
	p.disksName(t, *e.ID)
	p.world.cut = holdfast.Errorf(holdfast.Unreachable, "/vaults/safe", "The vault's storage does not answer.")
	p.job(t, p.backupNow(t))
	p.world.cut = nil
	p.disksName(t, "")
	p.job(t, p.backupNow(t))
	one, two := p.world.backups[0], p.world.backups[1]
	if !one.Operational.Revocable || one.Operational.KeyURL != "hashivault://mine" || one.Operational.Twice || two.Operational.Revocable {
		t.Errorf("the points go to %+v and %+v", one.Operational, two.Operational)
	}
	if len(two.Waiting) != 0 || len(two.Elsewhere) != 1 || two.Elsewhere[0] != (holdfast.PointRef{Repository: one.Operational, PointID: one.PointID}) {
		t.Errorf("what waits: %v, elsewhere %v", two.Waiting, two.Elsewhere)
	}
	p.job(t, p.backupNow(t))
	if three := p.world.backups[2]; len(three.Waiting)+len(three.Elsewhere) != 0 {
		t.Errorf("what is copied waits still: %v, %v", three.Waiting, three.Elsewhere)
	}
	p.refuses(t, []refused{{"a set with a point in the instant tier", "DELETE", *e.ID, "", 409, "Conflict", "instant tier"}})
}
