package guest

import (
	"errors"
	"testing"
	"time"

	"holdfast/internal/guest/guesttest"
)

// TestOS holds what agents of Linux and Windows say of their system
// (guest-get-osinfo in QEMU's qga/commands-posix.c and commands-win32.c).
func TestOS(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answer  any
		name    string
		windows bool
		ok      bool
	}{
		{map[string]any{"name": "Debian GNU/Linux", "pretty-name": "Debian GNU/Linux 12 (bookworm)", "id": "debian", "version-id": "12", "kernel-release": "6.1.0", "machine": "x86_64"}, "Debian GNU/Linux 12 (bookworm)", false, true},
		{map[string]any{"name": "Microsoft Windows", "pretty-name": "Windows Server 2022 Standard", "id": "mswindows", "version": "Microsoft Windows Server 2022", "version-id": "2022", "variant": "server", "kernel-release": "20348", "kernel-version": "10.0", "machine": "x86_64"}, "Windows Server 2022 Standard", true, true},
		{map[string]any{}, "", false, true},
		{[]int{1}, "", false, false},
		{nil, "", false, false},
	} {
		os, err := Of(guesttest.Host{Answers: map[string]any{"guest-get-osinfo": c.answer}}, "u").OS(t.Context(), time.Second)
		if (err == nil) != c.ok || os.Name != c.name || os.Windows() != c.windows {
			t.Errorf("%v: %+v, %v", c.answer, os, err)
		}
	}
}

// TestThaw: only the status counts.
func TestThaw(t *testing.T) {
	t.Parallel()
	vss := errors.New("failed to thaw filesystems: the volume shadow copy provider is not in that state")
	for _, c := range []struct {
		what         string
		thaw, status any
		n            int
		ok, still    bool
	}{
		{"thawed", 3, "thawed", 3, true, false},
		{"somebody else did", 0, "thawed", 0, true, false},
		{"Windows past its 10 s reports a failure", vss, "thawed", 0, true, false},
		{"it stays frozen", 0, "frozen", 0, false, true},
		{"it fails and stays frozen", vss, "frozen", 0, false, true},
		{"it does not say", 3, nil, 3, false, false},
	} {
		n, err := Of(guesttest.Host{Answers: map[string]any{"guest-fsfreeze-thaw": c.thaw, "guest-fsfreeze-status": c.status}}, "u").Thaw(t.Context(), time.Second)
		if n != c.n || (err == nil) != c.ok || errors.Is(err, ErrStillFrozen) != c.still {
			t.Errorf("%s: %d, %v", c.what, n, err)
		}
	}
}
