package e2e

import (
	"strings"

	"holdfast/internal/guestlab"
)

// assemble makes one device of the guest's disks vdb and vdc, striped in pieces of
// 64 KiB. The guest has no mdadm: the kernel is asked (Documentation/admin-guide/md.rst,
// "md devices in sysfs").
const assemble = `set -e
modprobe raid0
echo md_pool > /sys/module/md_mod/parameters/new_array
cd /sys/block/md_pool/md
echo none > metadata_version; echo raid0 > level; echo 2 > raid_disks; echo 65536 > chunk_size
n=0
for d in vdb vdc; do
	cat /sys/block/$d/dev > new_dev
	echo 0 > dev-$d/offset; echo $(($(cat /sys/block/$d/size) / 2)) > dev-$d/size; echo $n > dev-$d/slot
	n=$((n+1))
done
echo active > array_state
mkdir -p /pool
`

// fillPool makes a file system over two disks of a guest, and has it written to until it
// is full: files, each across both disks, and a list of their sums.
func fillPool(g *guestlab.Guest) {
	g.T.Helper()
	g.Sh(assemble + `mkfs.ext4 -q /dev/md_pool; mount /dev/md_pool /pool
(cd /pool; i=0; while i=$((i+1)); head -c 200000 /dev/urandom > f.$i && sha256sum f.$i >> sums; do :; done) > /dev/null 2>&1 < /dev/null &`)
	for strings.TrimSpace(g.Sh("test -s /pool/sums && echo yes; true")) != "yes" {
		g.T.Log("nothing is written yet")
	}
}

// poolIsWhole fails the test unless all that was written when a point was made is
// there as it was: which it is not where the disks are of two moments.
func poolIsWhole(g *guestlab.Guest) {
	g.T.Helper()
	out := g.Sh(assemble + "mount /dev/md_pool /pool; cd /pool; wc -l < sums; sha256sum -c sums | grep -v OK || true")
	if n, wrong, _ := strings.Cut(strings.TrimSpace(out), "\n"); n == "0" || wrong != "" {
		g.T.Errorf("of %s files these are not as they were:\n%s", n, wrong)
	} else {
		g.T.Logf("%s files of the pool are as they were", n)
	}
}
