package e2e

import (
	"strings"
	"testing"

	"holdfast/internal/guest"
	"holdfast/internal/hypervisor"
)

// unlocked has a guest open a volume that it encrypts itself, as the device /dev/dm-0:
// dm-crypt over the file /data/volume. The guest has no cryptsetup: the kernel is
// asked (include/uapi/linux/dm-ioctl.h: DM_DEV_CREATE, DM_TABLE_LOAD, and DM_DEV_SUSPEND
// without its flag, which resumes).
const unlocked = `set -e
modprobe -a loop dm-crypt
losetup /dev/loop0 /data/volume
perl -e '
	sub dm {
		my ($nr, $targets, $data) = @_;
		my $b = pack("L3 L3 l L3 Q a128 a129 a7", 4, 0, 0, 312 + length $data, 312, $targets, 0, 0, 0, 0, 0, "volume", "", "") . $data;
		open(my $control, "+<", "/dev/mapper/control") or die $!;
		ioctl($control, 0xC138FD00 + $nr, $b) or die "ioctl $nr: $!";
	}
	my $table = "aes-xts-plain64 " . "0123456789abcdef" x 8 . " 0 7:0 0\0";
	$table .= "\0" x (-length($table) % 8);
	dm(3, 0, "");
	dm(9, 1, pack("q Q l L a16", 0, (-s "/data/volume") / 512, 0, 0, "crypt") . $table);
	dm(6, 0, "");
'
`

const inVolume = "nobody but the guest reads this"

// encryptInside makes a volume that the guest encrypts itself.
func (s *story) encryptInside() {
	s.t.Helper()
	out := s.guest.Sh("head -c 4194304 /dev/zero > /data/volume\n" + unlocked + "echo '" + inVolume + "' | dd of=/dev/dm-0 conv=fsync 2>/dev/null; sync; grep -c nobody /data/volume || true")
	if strings.TrimSpace(out) != "0" {
		s.t.Fatalf("the guest did not encrypt it: %s", out)
	}
}

// opensInside fails unless the guest of a restored machine opens that volume.
func opensInside(t *testing.T, a guest.Agent) {
	t.Helper()
	if got := in(t, a, "mkdir -p /data; mount /dev/vdb /data\n"+unlocked+"head -c 31 /dev/dm-0"); got != inVolume {
		t.Errorf("the volume that the guest encrypted has %q", got)
	}
}

// loseSecret makes the host forget the secret of the guest's disks.
func (s *story) loseSecret() {
	s.t.Helper()
	if err := s.guest.Host.UndefineSecret(s.t.Context(), s.guest.Secret.UUID); err != nil {
		s.t.Fatal(err)
	}
}

// sealedAgain fails unless the system disk of a machine is encrypted under the secret
// of the original, which the host has again.
func (s *story) sealedAgain(t *testing.T, name string) {
	t.Helper()
	d, err := s.guest.Host.DomainNamed(t.Context(), name)
	if err != nil || !d.Disks[0].Encrypted || d.Disks[0].Secret.UUID != s.guest.Secret.UUID {
		t.Errorf("the system disk: %+v, %v", d.Disks, err)
	}
	if got, err := s.guest.Host.Secret(t.Context(), hypervisor.SecretRef{UUID: s.guest.Secret.UUID}); err != nil || string(got.Value) != string(s.guest.Secret.Value) {
		t.Errorf("the secret: %v, %v", got, err)
	}
}
