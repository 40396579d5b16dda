package guest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Look is what a Linux guest was found to have.
type Look struct {
	Python []string // versions, such as 3.11.2, as found
	Proxy  string   // the first proxy that is set for the system or its agents, without credentials; "" none
	Mounts []string // where network file systems are mounted
}

// lookScript prints what Look holds, a word and a value on each line. It reads
// and changes nothing. Where proxies are set: environment(5) and the Azure
// Linux agent's waagent.conf (HttpProxy.Host).
const lookScript = `
for p in python3 python2 python python2.7; do
	v=$(command -v $p >/dev/null 2>&1 && $p -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) && echo "python $v"
done
grep -hiE '^[[:space:]]*(export[[:space:]]+)?https?_proxy=' /etc/environment 2>/dev/null | sed 's/^[^=]*=/proxy /'
grep -hE '^HttpProxy\.Host=' /etc/waagent.conf 2>/dev/null | sed 's/^[^=]*=/proxy /'
` + mountScript

// mountScript prints the mounts alone.
const mountScript = `
while read -r _ where kind _; do echo "mount $kind $where"; done </proc/mounts
exit 0
`

// networkKinds are the file systems whose bytes are not on a disk of the VM
// (/proc/filesystems of Linux 6.1; fuse ones by what stands behind the dot).
var networkKinds = []string{"nfs", "nfs4", "cifs", "smb3", "ceph", "fuse.ceph", "fuse.glusterfs", "fuse.sshfs", "9p", "virtiofs", "afs", "ocfs2", "gfs2", "lustre", "beegfs"}

// ErrNoLook: the guest cannot be looked into: no shell, or commands are not allowed.
var ErrNoLook = errors.New("the guest cannot be looked into")

// Look runs a script of nothing but questions in a Linux guest. ErrNoLook.
func (a Agent) Look(ctx context.Context, timeout time.Duration) (Look, error) {
	return a.look(ctx, lookScript, timeout)
}

// Mounts says where network file systems are mounted in a Linux guest. ErrNoLook.
func (a Agent) Mounts(ctx context.Context, timeout time.Duration) ([]string, error) {
	l, err := a.look(ctx, mountScript, timeout)
	return l.Mounts, err
}

func (a Agent) look(ctx context.Context, script string, timeout time.Duration) (Look, error) {
	r, err := a.Run(ctx, Command{Path: "/bin/sh", Args: []string{"-s"}, Stdin: []byte(script)}, timeout)
	switch {
	case err != nil:
		return Look{}, fmt.Errorf("%w: %w", ErrNoLook, err)
	case r.Code != 0 || r.Truncated:
		return Look{}, fmt.Errorf("%w: its shell ended with %d", ErrNoLook, r.Code)
	}
	return parseLook(r.Stdout), nil
}

// parseLook reads what lookScript printed; lines of other forms are left out.
func parseLook(out []byte) (l Look) {
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		word, value, _ := strings.Cut(lines.Text(), " ")
		switch {
		case word == "python" && value != "" && !slices.Contains(l.Python, value):
			l.Python = append(l.Python, value)
		case word == "proxy" && l.Proxy == "" && value != "":
			l.Proxy = withoutCredentials(strings.Trim(value, `"'`))
		case word == "mount":
			kind, where, _ := strings.Cut(value, " ")
			if slices.Contains(networkKinds, kind) {
				l.Mounts = append(l.Mounts, strings.ReplaceAll(where, `\040`, " "))
			}
		}
	}
	return l
}

// withoutCredentials is a proxy's address that may be shown: what stands before
// the last @ is cut out.
func withoutCredentials(proxy string) string {
	at := strings.LastIndex(proxy, "@")
	if at < 0 {
		return proxy
	}
	scheme, _, has := strings.Cut(proxy[:at], "://")
	if !has {
		return proxy[at+1:]
	}
	return scheme + "://" + proxy[at+1:]
}
