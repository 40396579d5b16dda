package snapshot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"holdfast/internal/hypervisor"
	"holdfast/internal/matrix"
)

// keeper is a host that has one secret, or says why it gives none.
type keeper struct {
	hypervisor.Host
	refuses error
}

func (k keeper) Secret(_ context.Context, ref hypervisor.SecretRef) (hypervisor.Secret, error) {
	if k.refuses != nil {
		return hypervisor.Secret{}, fmt.Errorf("%w: libvirt says so", k.refuses)
	}
	return hypervisor.Secret{UUID: "resolved-" + ref.UUID + ref.Usage, Value: []byte("geheim")}, nil
}

// TestUnlock: the secret of every encrypted disk goes with the snapshot, once; a disk
// of which there is none is refused before anything happens to the guest, and vm check
// says so.
func TestUnlock(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "STO-05")
	luks := func(target string, ref hypervisor.SecretRef) hypervisor.Disk {
		return hypervisor.Disk{Target: target, Encrypted: true, Cipher: hypervisor.LUKS, Secret: ref}
	}
	byUUID, byUsage := hypervisor.SecretRef{UUID: "u"}, hypervisor.SecretRef{Usage: "/a"}
	for _, c := range []struct {
		what    string
		disks   []hypervisor.Disk
		refuses error
		want    error
		secrets int
	}{
		{"none is encrypted", []hypervisor.Disk{{Target: "vda"}}, hypervisor.ErrUnreachable, nil, 0},
		{"two under one secret", []hypervisor.Disk{luks("vda", byUUID), {Target: "vdb"}, luks("vdc", byUUID)}, nil, nil, 1},
		{"by its usage", []hypervisor.Disk{luks("vda", byUUID), luks("vdb", byUsage)}, nil, nil, 2},
		{"not there", []hypervisor.Disk{luks("vda", byUUID)}, hypervisor.ErrNoSecret, hypervisor.ErrNoSecret, 0},
		{"private", []hypervisor.Disk{luks("vda", byUUID)}, hypervisor.ErrPrivateSecret, hypervisor.ErrPrivateSecret, 0},
		{"no secret named", []hypervisor.Disk{luks("vda", hypervisor.SecretRef{})}, nil, ErrUnsupportedFormat, 0},
		{"another cipher", []hypervisor.Disk{{Target: "vda", Encrypted: true, Cipher: "qcow", Secret: byUUID}}, nil, ErrUnsupportedFormat, 0},
	} {
		host := keeper{refuses: c.refuses}
		tk := &taken{r: Request{Host: host}, snap: &Snapshot{}}
		var blocks int
		for _, d := range c.disks {
			tk.plan = append(tk.plan, planned{disk: d})
			for _, f := range aboutKey(t.Context(), host, d) {
				if f.Severity == Blocks {
					blocks++
				}
			}
		}
		err := tk.unlock(t.Context())
		if !errors.Is(err, c.want) || err != nil && c.want == nil || len(tk.snap.Secrets) != c.secrets || (blocks > 0) != (c.want != nil) {
			t.Errorf("%s: %v, %d secrets, %d findings block", c.what, err, len(tk.snap.Secrets), blocks)
		}
		if err != nil && !strings.Contains(err.Error(), "vda") {
			t.Errorf("%s: %v does not name the disk", c.what, err)
		}
		for _, p := range tk.plan {
			if c.want == nil && p.disk.Encrypted != (p.key != nil && strings.HasPrefix(p.secret, "resolved-")) {
				t.Errorf("%s: disk %s has the key %v of %q", c.what, p.disk.Target, p.key != nil, p.secret)
			}
		}
		if s := fmt.Sprintf("%+v %#v", tk.snap.Secrets, tk.snap.Secrets); strings.Contains(s, "geheim") || strings.Contains(s, "103 101") {
			t.Errorf("%s: the passphrase prints: %s", c.what, s)
		}
	}
}
