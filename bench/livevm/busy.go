package livevm

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Busy is a running machine that works on its data disk while it is backed up:
// it writes 4 KiB at random places, each write synced before the next, and
// keeps how long each took by the guest's own clock.
type Busy struct {
	Guest
}

// writerScript writes until /run/stop is there, and a line of microseconds for
// each write to /run/took. syscall 228 is clock_gettime of x86-64, 1 the
// monotonic clock: the guest has no module for it.
const writerScript = `use Fcntl;
sub now { my $t = "\0" x 16; syscall(228, 1, $t); my ($s, $n) = unpack("qq", $t); $s * 1000000 + int($n / 1000) }
sysopen(my $disk, "/dev/vdb", O_WRONLY|O_SYNC) or die $!;
open(my $log, ">", "/run/took") or die $!;
select((select($log), $| = 1)[0]); # each line at once
my $x = $ARGV[0];
until (-e "/run/stop") {
	$x = ($x * 1103515245 + 12345) % 2147483648;
	my $began = now();
	sysseek($disk, ($x >> 9) % 65536 * 4096, 0) or die $!;
	syswrite($disk, chr($x >> 8 & 255) x 4096) == 4096 or die $!;
	print $log now() - $began, "\n";
	select(undef, undef, undef, 0.005);
}
`

// StartBusy boots the test guest whose files are in folder (scripts/guest-image)
// with a data disk of the raw image's content.
func StartBusy(ctx context.Context, uri, name, folder, raw string) (*Busy, error) {
	dir, err := os.MkdirTemp("", name+"-")
	if err != nil {
		return nil, err
	}
	b := &Busy{Guest{Name: name, Dir: dir, uri: uri}}
	args, err := os.ReadFile(filepath.Join(folder, "cmdline"))
	if err != nil {
		return nil, err
	}
	for _, c := range [][]string{
		{"chmod", "711", dir},
		{"cp", filepath.Join(folder, "vmlinuz"), filepath.Join(folder, "initrd.img"), dir},
		{"cp", filepath.Join(folder, "disk.qcow2"), filepath.Join(dir, "system.qcow2")},
		{"qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, b.Disk()},
	} {
		if _, err := b.run(ctx, c[0], c[1:]...); err != nil {
			return nil, err
		}
	}
	xml := fmt.Sprintf(`<domain type='qemu'>
  <name>%[1]s</name>
  <memory unit='MiB'>512</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type><kernel>%[2]s/vmlinuz</kernel><initrd>%[2]s/initrd.img</initrd><cmdline>%[3]s</cmdline></os>
  <features><acpi/></features>
  <cpu mode='maximum'/>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%[2]s/system.qcow2'/><target dev='vda' bus='virtio'/></disk>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%[4]s'/><target dev='vdb' bus='virtio'/></disk>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <memballoon model='none'/>
  </devices>
</domain>`, name, dir, strings.TrimSpace(string(args)), b.Disk())
	path := filepath.Join(dir, "domain.xml")
	if err := os.WriteFile(path, []byte(xml), 0o644); err != nil {
		return nil, err
	}
	for _, c := range [][]string{{"define", path}, {"start", name}} {
		if _, err := b.virsh(ctx, c...); err != nil {
			return b, err
		}
	}
	return b, b.boot(ctx)
}

// boot waits for the agent.
func (b *Busy) boot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for {
		_, err := b.agent(ctx, "guest-ping", nil)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the guest does not boot: %w", err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func (b *Busy) agent(ctx context.Context, command string, args any) (json.RawMessage, error) {
	ask, err := json.Marshal(map[string]any{"execute": command, "arguments": args})
	if args == nil {
		ask, err = json.Marshal(map[string]any{"execute": command})
	}
	if err != nil {
		return nil, err
	}
	out, err := b.virsh(ctx, "qemu-agent-command", "--timeout", "60", b.Name, string(ask))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Return json.RawMessage `json:"return"`
	}
	return answer.Return, json.Unmarshal([]byte(out), &answer)
}

// sh runs a script in the guest.
func (b *Busy) sh(ctx context.Context, script string) (string, error) {
	raw, err := b.agent(ctx, "guest-exec", map[string]any{"path": "/bin/sh", "arg": []string{"-c", script}, "capture-output": true})
	if err != nil {
		return "", err
	}
	var started struct {
		PID int `json:"pid"`
	}
	if err := json.Unmarshal(raw, &started); err != nil {
		return "", err
	}
	for {
		raw, err := b.agent(ctx, "guest-exec-status", map[string]int{"pid": started.PID})
		if err != nil {
			return "", err
		}
		var s struct {
			Exited bool   `json:"exited"`
			Code   int    `json:"exitcode"`
			Out    []byte `json:"out-data"`
			Err    []byte `json:"err-data"`
		}
		if err := json.Unmarshal(raw, &s); err != nil {
			return "", err
		}
		if s.Exited {
			if s.Code != 0 {
				err = fmt.Errorf("in the guest: exit %d: %s", s.Code, s.Err)
			}
			return string(s.Out), err
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Latency is how long the guest's synced writes took.
type Latency struct {
	Writes        int
	P50, P95, P99 time.Duration
	Most          time.Duration
}

// During runs do while the guest writes, and says how long its writes took. The
// guest that went on alone would be another measure: every run is alike.
func (b *Busy) During(ctx context.Context, seed int, do func() error) (Latency, error) {
	script := base64.StdEncoding.EncodeToString([]byte(writerScript))
	if _, err := b.sh(ctx, fmt.Sprintf("rm -f /run/stop /run/took; echo %s | base64 -d >/run/writer.pl; setsid perl /run/writer.pl %d >/run/writer.log 2>&1 </dev/null & for i in $(seq 300); do [ -s /run/took ] && exit; sleep 0.1; done; cat /run/writer.log >&2; exit 1", script, seed)); err != nil {
		return Latency{}, err
	}
	if _, err := b.sh(ctx, "wc -l </run/took >/run/took.before"); err != nil {
		return Latency{}, err
	}
	err := do()
	out, err2 := b.sh(ctx, "n=$(cat /run/took.before); touch /run/stop; while busybox pgrep perl >/dev/null; do sleep 0.1; done; cat /run/writer.log >&2; tail -n +$((n+1)) /run/took")
	if err := errors.Join(err, err2); err != nil {
		return Latency{}, err
	}
	return latency(out)
}

// latency reads a line of microseconds for each write.
func latency(lines string) (Latency, error) {
	var all []time.Duration
	for _, line := range strings.Fields(lines) {
		n, err := strconv.Atoi(line)
		if err != nil {
			return Latency{}, err
		}
		all = append(all, time.Duration(n)*time.Microsecond)
	}
	if len(all) < 20 {
		return Latency{}, fmt.Errorf("%d writes are too few to say how long they take", len(all))
	}
	slices.Sort(all)
	at := func(share float64) time.Duration { return all[int(share*float64(len(all)-1))] }
	return Latency{len(all), at(.50), at(.95), at(.99), all[len(all)-1]}, nil
}
