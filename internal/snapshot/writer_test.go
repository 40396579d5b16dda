package snapshot_test

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A writer in the guest writes blocks at random places of two disks, one after
// the other, each with its number. So a point taken while it runs is right only
// if it is what both disks were after exactly n writes, for some n: every byte
// of the instant is known, and that the instant was one for both.

const (
	writerBlock  = 4096
	writerBlocks = axisMiB << 20 / writerBlock
	writerSeed   = 4711
	writerLog    = "/run/writer.log"
)

var writerDisks = []string{"vdb", "sda"}

// writerScript takes the seed, the number of blocks and the disks.
const writerScript = `use Fcntl;
my ($x, $blocks, @paths) = @ARGV;
my @disks = map { sysopen(my $h, $_, O_WRONLY|O_SYNC) or die "$_: $!"; $h } @paths;
for (my $n = 1; !-e "/run/stop-writer"; $n++) {
	$x = ($x * 1103515245 + 12345) % 2147483648;
	my $h = $disks[($x >> 8) & 1];
	sysseek($h, (($x >> 9) % $blocks) * 4096, 0) or die $!;
	syswrite($h, sprintf("%08d", $n) x 512) == 4096 or die $!;
}
`

// writer is the model of what it does.
type writer struct {
	before map[string][]byte // content when it began
	seen   int               // writes in the last point
}

// startWriter lets it begin on what the last point has.
func (a *axis) startWriter() {
	a.t.Helper()
	a.writer = &writer{before: map[string][]byte{}}
	var devices []string
	for _, target := range writerDisks {
		a.writer.before[target] = bytes.Clone(a.base[target])
		devices = append(devices, a.device(target))
	}
	a.Sh(fmt.Sprintf("cat >/run/writer.pl <<'E'\n%sE\nrm -f /run/stop-writer; setsid perl /run/writer.pl %d %d %s >%s 2>&1 </dev/null &",
		writerScript, writerSeed, writerBlocks, strings.Join(devices, " "), writerLog))
	a.watchWriter()
}

// watchWriter waits until it has written for a while.
func (a *axis) watchWriter() {
	a.t.Helper()
	time.Sleep(time.Second) // it tells nobody how far it is: that would slow it down
}

// stopWriter ends it.
func (a *axis) stopWriter() {
	a.t.Helper()
	a.Sh("touch /run/stop-writer; while busybox pgrep perl >/dev/null; do sleep 0.05; done; test ! -s " + writerLog)
}

// writerWas wants the point to be what the disks were after some number of writes.
func (a *axis) writerWas() {
	a.t.Helper()
	n := 0
	for _, target := range writerDisks {
		for block := range slices.Chunk(a.base[target], writerBlock) {
			if i, err := strconv.Atoi(string(block[:8])); err == nil && bytes.Equal(block, bytes.Repeat(block[:8], writerBlock/8)) {
				n = max(n, i)
			}
		}
	}
	if n < a.writer.seen+5 {
		a.t.Errorf("%d writes after %d: the writer does not go on: %s", n, a.writer.seen, a.Sh("cat "+writerLog))
	}
	a.writer.seen = n
	after := map[string][]byte{}
	for target, content := range a.writer.before {
		after[target] = bytes.Clone(content)
	}
	for i, x := 1, int64(writerSeed); i <= n; i++ {
		x = (x*1103515245 + 12345) % 2147483648
		at := (x >> 9) % writerBlocks * writerBlock
		copy(after[writerDisks[x>>8&1]][at:], bytes.Repeat(fmt.Appendf(nil, "%08d", i), writerBlock/8))
	}
	for _, target := range writerDisks {
		if !bytes.Equal(after[target], a.base[target]) {
			a.t.Errorf("disk %s: the point is not what it was after %d writes", target, n)
		}
	}
	a.t.Logf("the point is what both disks were after %d writes", n)
}
