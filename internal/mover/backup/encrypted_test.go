package backup_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast"
	"holdfast/internal/disk/image"
	"holdfast/internal/guestlab"
	"holdfast/internal/hypervisor"
	"holdfast/internal/luks"
	"holdfast/internal/matrix"
	"holdfast/internal/mover/restore"
)

// rawSize is that of a raw encrypted disk: all of it looks random.
const rawSize = 4 << 20

// TestEncryptedDisks: disks under a libvirt secret are backed up while their machine
// runs and while it is off, and come back encrypted under the same secret on a host
// that has lost it. The passphrase is told to nobody, and what is set aside of the
// guest's disk meanwhile is encrypted, too.
func TestEncryptedDisks(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "STO-05", "RPT-30", "SEC-06")
	l := newLabOf(t, guestlab.Disk{Size: diskSize, LUKS: true}, guestlab.Disk{Size: rawSize, Format: "raw", LUKS: true})
	l.write(1)
	l.writeTo(2, 1)
	p := &told{}
	scratch := 0
	p.onBytes = func(int64, int64) {
		files, _ := filepath.Glob(filepath.Join(l.siteRef().ScratchDir, "*", "*.qcow2"))
		for _, f := range files {
			sealed, err := image.Encrypted(f, "qcow2")
			if err == nil && !sealed {
				t.Errorf("%s is not encrypted", f)
			}
			scratch++
		}
	}
	res, err := l.backup(l.args(), p)
	must(t, err)
	if scratch == 0 || len(res.Disks) != 2 || res.Disks[0].Secret != l.Secret.UUID || res.Disks[1].Secret != l.Secret.UUID {
		t.Errorf("%d scratch files, %+v", scratch, res.Disks)
	}
	l.write(2)
	res, p = l.made(l.args())
	if p.full() || !strings.HasPrefix(p.properties["Disk vdc"], "full: raw images") || res.Disks[0].Read > 2*block {
		t.Errorf("the second backup: %v", p.properties)
	}
	l.Destroy()
	if _, p = l.made(l.args()); p.full() {
		t.Errorf("while it is off: %v", p.properties)
	}
	if secrets := l.libvirt("secret-list"); strings.Count(secrets, "scratch files of a Holdfast") > 0 {
		t.Errorf("a scratch key was left: %s", secrets)
	}

	key := l.Secret.Value
	text := fmt.Sprint(res, p.properties, p.warnings, p.reached)
	if j, err := json.Marshal(res); err != nil || leaks(key, []byte(text)) || leaks(key, j) {
		t.Errorf("the passphrase is told: %s %s, %v", text, j, err)
	}
	must(t, filepath.WalkDir(l.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if leaks(key, b) {
			t.Errorf("%s has the passphrase", path)
		}
		return err
	}))

	must(t, l.Host.UndefineSecret(t.Context(), l.Secret.UUID))
	l.back++
	a := holdfast.RestoreArgs{Site: l.siteRef(), Repository: l.vault, PointID: "003", RestoreID: l.Name, Mode: holdfast.CreateVM, VMName: l.Name + "-back",
		Directory: l.Dir, Format: "qcow2", NamePrefix: "back", Start: true}
	m := restore.Mover{Hosts: l.connect, Repositories: l.opener.Repository}
	back, err := m.Run(t.Context(), a, &told{})
	must(t, err)
	t.Cleanup(func() { l.libvirt("undefine", l.Name+"-back") })
	l.libvirt("destroy", a.VMName)
	for i, want := range [][]byte{{1, 2}, {1}} {
		d := back.Disks[i]
		if sealed, err := image.Encrypted(d.Path, "qcow2"); err != nil || !sealed {
			t.Errorf("%s is not encrypted, %v", d.Path, err)
		}
		l.plain(d.Path, "qcow2", want)
	}
	if s, err := l.Host.Secret(t.Context(), hypervisor.SecretRef{UUID: l.Secret.UUID}); err != nil || !bytes.Equal(s.Value, key) {
		t.Errorf("the secret: %v, %v", s, err)
	}

	// A host whose secret of that name is another is left as it is.
	must(t, l.Host.UndefineSecret(t.Context(), l.Secret.UUID))
	other := l.Secret
	other.Value = []byte("another")
	_, err = l.Host.DefineSecret(t.Context(), other)
	must(t, err)
	a.RestoreID, a.NamePrefix, a.Mode = l.Name+"-2", "none", holdfast.RestoreDisks
	if _, err := m.Run(t.Context(), a, &told{}); holdfast.KindOf(err) != holdfast.Conflict || !strings.Contains(err.Error(), "another value") {
		t.Errorf("where the secret has another value: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(l.Dir, "none*")); left != nil {
		t.Errorf("it left %v", left)
	}
	a.Mode, a.BootFirst, a.LUNs, a.VMName = holdfast.CreateVM, true, nil, "none"
	if _, err := m.Run(t.Context(), a, &told{}); holdfast.KindOf(err) != holdfast.Unsupported || !strings.Contains(err.Error(), "in the clear") {
		t.Errorf("booted from the point: %v", err)
	}
}

// leaks says whether text has a key in it.
func leaks(key, text []byte) bool {
	return bytes.Contains(text, key) || bytes.Contains(text, []byte(base64.StdEncoding.EncodeToString(key))) || bytes.Contains(text, []byte(fmt.Sprint(key)))
}

// libvirt runs virsh.
func (l *lab) libvirt(args ...string) string {
	l.T.Helper()
	out, err := exec.Command("virsh", append([]string{"-q", "-c", guestlab.URI}, args...)...).CombinedOutput()
	if err != nil {
		l.T.Errorf("virsh %v: %v %s", args, err, out)
	}
	return string(out)
}

// plain fails unless the guest of an encrypted image sees these moments.
func (l *lab) plain(path, format string, moments []byte) {
	l.T.Helper()
	to := path + ".plain"
	guestlab.Plain(l.T, path, format, l.Secret.Value, to)
	got, err := os.ReadFile(to)
	if err != nil {
		l.T.Fatal(err)
	}
	for _, m := range moments {
		if !bytes.Equal(got[int(m)*block:][:block], bytes.Repeat([]byte{m}, block)) {
			l.T.Errorf("%s has not what the disk had at moment %d", path, m)
		}
	}
	stored, err := os.ReadFile(path)
	if err != nil || bytes.Contains(stored, bytes.Repeat(moments[:1], 512)) {
		l.T.Errorf("%s holds the plaintext, %v", path, err)
	}
}

// TestEncryptionTurnedOn: a disk of a protected machine is encrypted. The next backup
// reads that disk in full and stores nothing of it anew, and goes on with the others;
// the one after goes on with it, too.
func TestEncryptionTurnedOn(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "STO-05")
	l := newLabOf(t, guestlab.Disk{Size: diskSize}, guestlab.Disk{Size: diskSize})
	l.write(1)
	l.writeTo(2, 1)
	l.made(l.args())

	l.Destroy()
	key := luks.Key("turned on later")
	id := l.encryptDisk(l.Disks[1], key)
	l.libvirt("start", "--paused", l.Name)
	l.write(2)
	res, p := l.made(l.args())
	if !strings.Contains(p.properties["Disk vdb"], "full: it is another image") || strings.HasPrefix(p.properties["Disk vdc"], "full") || res.Disks[0].New > 2*block {
		t.Errorf("after encryption was turned on: %v, %+v", p.properties, res.Disks)
	}
	if res.Disks[0].Secret != id || res.Disks[1].Secret != "" {
		t.Errorf("the secrets: %+v", res.Disks)
	}
	l.write(3)
	if _, p = l.made(l.args()); p.full() {
		t.Errorf("then: %v", p.properties)
	}
}

// encryptDisk encrypts an image of the machine, which is off, in its place.
func (l *lab) encryptDisk(path string, key luks.Key) (id string) {
	t := l.T.(*testing.T)
	t.Helper()
	plain := path + ".plain"
	must(t, os.Rename(path, plain))
	must(t, guestlab.Encrypt(plain, path, key))
	id = "00000000-0000-4000-8000-" + l.UUID[24:]
	_, err := l.Host.DefineSecret(t.Context(), hypervisor.Secret{UUID: id, Value: key, XML: "<secret ephemeral='no' private='no'><uuid>" + id + "</uuid></secret>"})
	must(t, err)
	t.Cleanup(func() { l.libvirt("secret-undefine", id) })
	doc, err := l.Host.DomainXML(t.Context(), l.UUID)
	must(t, err)
	source := "<source file='" + path + "'/>"
	if !strings.Contains(doc, source) {
		t.Fatal(errors.New(doc))
	}
	must(t, l.Host.Redefine(t.Context(), l.UUID, strings.Replace(doc, source, "<source file='"+path+"'><encryption format='luks'><secret type='passphrase' uuid='"+id+"'/></encryption></source>", 1)))
	return id
}
