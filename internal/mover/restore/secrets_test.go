package restore

import (
	"strings"
	"testing"
)

const secretive = `<domain><name>web</name><devices>
	<disk type="file" device="disk"><source file="/a"><encryption><secret uuid="d-1"/></encryption></source><target dev="vda" bus="virtio"/></disk>
	<graphics type="vnc" passwd="hunter2" passwdValidTo="2030-01-01T00:00:00"/><graphics type="spice"/>
	<tpm model="tpm-crb"><backend type="emulator"><encryption secret="t-1"/></backend></tpm>
	<hostdev mode="subsystem" type="scsi"><source protocol="iscsi"><auth username="u"><secret type="iscsi" usage="lun"/></auth></source></hostdev>
	</devices></domain>`

// TestSecrets: a new VM has the passwords of its displays; the definition that is
// laid beside restored disks has not, and who restores is told of both that and the
// secrets that are the host's.
func TestSecrets(t *testing.T) {
	t.Parallel()
	n := newDomain{Name: "new", Disks: map[string]string{"vda": "/b"}, Formats: map[string]string{"vda": "raw"}}
	xml, notes, err := rewriteDomain(secretive, n)
	if err != nil || !strings.Contains(xml, `passwd="hunter2"`) {
		t.Errorf("the new VM has not its password: %v\n%s", err, xml)
	}
	if said := strings.Join(notes, "\n"); len(notes) != 2 || !strings.Contains(said, "tpm of the VM needs the libvirt secret t-1") || !strings.Contains(said, "hostdev of the VM needs the libvirt secret lun") {
		t.Errorf("of the host's secrets is said\n%s", said)
	}
	plain, notes := withoutPasswords(secretive)
	if strings.Contains(plain, "hunter2") || len(notes) != 1 || !strings.Contains(notes[0], "vnc") || strings.Contains(notes[0], "hunter2") {
		t.Errorf("%q\n%s", notes, plain)
	}
	if same, none := withoutPasswords(plain); same != plain || none != nil {
		t.Errorf("nothing to take: %q", none)
	}
}
