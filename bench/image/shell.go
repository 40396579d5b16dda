package image

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// run runs a tool and returns what it printed; its error holds the tail of
// what the tool complained of.
func run(ctx context.Context, name string, args ...string) (string, error) {
	return runWith(ctx, "", name, args...)
}

func runWith(ctx context.Context, stdin, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, tail(complaint.String()+out.String(), 800))
	}
	return out.String(), nil
}

func tail(s string, n int) string {
	s = strings.TrimSpace(s)
	if len(s) > n {
		s = "…" + s[len(s)-n:]
	}
	return s
}

// enter is run on the host as the first process of new mount and process
// namespaces: what it mounts and whatever the script leaves running in the
// guest tree end with it, however it ends.
const enter = `set -e
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/dev"
for f in null zero full random urandom tty; do
	touch "$1/dev/$f"; mount --bind "/dev/$f" "$1/dev/$f"
done
mkdir -p "$1/dev/shm"; chmod 1777 "$1/dev/shm"
ln -s /proc/self/fd "$1/dev/fd"
cp /etc/resolv.conf "$1/etc/resolv.conf"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
	chroot "$1" /bin/sh -e`

// inside runs a shell script in the system mounted at root.
func inside(ctx context.Context, root, script string) (string, error) {
	return runWith(ctx, script, "unshare", "--mount", "--pid", "--fork", "--kill-child",
		"sh", "-c", enter, "enter", root)
}
