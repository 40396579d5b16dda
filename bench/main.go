// Command bench compares Holdfast with its peers on one machine in one run and
// keeps the ratios. See README.md for what is measured and how.
//
//	go run ./bench                       everything, as `make bench` does
//	go run ./bench -size 2GiB -days 3    a quick look
//	go run ./bench -part chain -tools restic,borg
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"holdfast/bench/image"
	"holdfast/bench/livevm"
	"holdfast/bench/scale"
	"holdfast/internal/snapshot"
)

// options are what the flags say.
type options struct {
	parts   string // comma-separated names of parts
	tools   string // comma-separated names; "" = all
	size    string
	days    int
	seed    uint64
	repeat  int
	binary  string // ours; "" = build it
	cache   string
	out     string // folder of the result files
	install bool
	pause   time.Duration // of the chain: how long steps are begun; 0 = until the end
	resume  bool          // go on with a chain that paused
	join    string        // comma-separated details.json files whose samples are taken over
	merge   bool
	// scaleOne makes this process run one scale bench and nothing else.
	scaleOne string
	scale    scale.Options
	// liveOne makes this process do one step with a running VM.
	liveOne string
	job     livevm.Job
}

func parse() options {
	var o options
	flag.StringVar(&o.parts, "part", "chain,scale,live", "what to run, comma-separated: image (only build it), primitives, profile, chain, scale, live, latency, instant, report")
	flag.StringVar(&o.tools, "tools", "", "the tools to run, comma-separated (default all)")
	flag.StringVar(&o.size, "size", "16GiB", "size of the disk image (at least 2GiB)")
	flag.IntVar(&o.days, "days", 14, "daily changes after the full backup")
	flag.Uint64Var(&o.seed, "seed", 1, "seed of the generated data")
	flag.IntVar(&o.repeat, "repeat", 3, "runs of each full backup, restore and verify; the median counts")
	flag.StringVar(&o.binary, "holdfast", "", "the holdfast binary to measure (default: built from this tree)")
	flag.StringVar(&o.cache, "cache", defaultCache(), "where images and stores are kept; needs about 50 GB")
	flag.StringVar(&o.out, "out", "bench", "folder for results.json and details.json")
	flag.BoolVar(&o.install, "install", true, "install missing peers with apt-get")
	flag.BoolVar(&o.merge, "merge", false, "keep the samples of tools that are not run now from details.json")
	flag.DurationVar(&o.pause, "for", 0, "pause the chain after this long, such as 7m, and exit with status 75")
	flag.BoolVar(&o.resume, "resume", false, "go on with the chain that was paused")
	flag.StringVar(&o.join, "join", "", "for -part report: details.json files of other runs, comma-separated, whose samples replace those of the same tool and test")
	flag.StringVar(&o.scaleOne, "scale-one", "", "used by -part scale for its child processes: sparse, points or index")
	flag.StringVar(&o.liveOne, "live-one", "", "used by -part live for its child processes: create, backup or restore")
	flag.StringVar(&o.job.URI, "uri", "qemu:///system", "libvirt for -part live")
	flag.StringVar(&o.job.Domain, "live-domain", "", "for -live-one: the domain's name")
	flag.StringVar(&o.job.Store, "live-store", "", "for -live-one: the repository's folder")
	flag.StringVar(&o.job.Scratch, "live-scratch", "", "for -live-one: a folder that QEMU reaches")
	flag.StringVar(&o.job.Point, "live-point", "", "for -live-one: the point")
	flag.StringVar(&o.job.Base, "live-base", "", "for -live-one: the point before")
	flag.StringVar(&o.job.Target, "live-target", "", "for -live-one restore: the folder to write to")
	flag.StringVar(&o.job.Format, "live-format", "qcow2", "for -live-one restore: raw or qcow2")
	flag.Int64Var(&o.scale.Data, "scale-data", 0, "bytes of data on the sparse disk (default 10 GiB)")
	flag.IntVar(&o.scale.Points, "scale-points", 0, "points of one disk (default 9,999)")
	flag.Uint64Var(&o.scale.Chunks, "scale-chunks", 0, "chunks in the index (default 100 million)")
	flag.Parse()
	return o
}

func defaultCache() string {
	if dir := os.Getenv("HOLDFAST_CACHE"); dir != "" {
		return filepath.Join(dir, "bench")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "."
	}
	return filepath.Join(home, ".cache", "holdfast", "bench")
}

// apart is set in the environment once the bench runs in a mount namespace of
// its own.
const apart = "HOLDFAST_BENCH_APART"

// standApart starts this program again in its own mount namespace. What it
// mounts is then seen, and kept busy, by nobody else: a guest that libvirt
// starts at that time would carry a copy of every mount of the host along.
func standApart() error {
	if os.Getenv(apart) != "" {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		return err
	}
	args := append([]string{"unshare", "--mount", self}, os.Args[1:]...)
	return syscall.Exec(unshare, args, append(os.Environ(), apart+"=1"))
}

func main() {
	log.SetFlags(log.Ltime)
	if len(os.Args) > 1 && os.Args[1] == snapshot.WatchdogCommand {
		os.Exit(snapshot.WatchdogMain(os.Args[2:], livevm.Connect))
	}
	if err := standApart(); err != nil {
		log.Fatal("bench: a mount namespace of its own: ", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := bench(ctx, parse())
	if errors.Is(err, errPaused) {
		log.Print("bench: ", err)
		os.Exit(75) // EX_TEMPFAIL of sysexits.h: try again
	}
	if err != nil {
		log.Fatal("bench: ", err)
	}
}

func bench(ctx context.Context, o options) error {
	if o.scaleOne != "" {
		return scaleOne(ctx, o)
	}
	if o.liveOne != "" {
		return liveOne(ctx, o)
	}
	if o.install {
		if err := installPeers(ctx); err != nil {
			return err
		}
	}
	for part := range strings.SplitSeq(o.parts, ",") {
		do, ok := parts[part]
		if !ok {
			return fmt.Errorf("-part %q: not one of %s", part, strings.Join(slices.Sorted(maps.Keys(parts)), ", "))
		}
		if err := do(ctx, o); err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
		o.merge = true // the next part adds to this one's figures
	}
	return nil
}

// parts are the benches by name.
var parts = map[string]func(context.Context, options) error{
	"image":      withImage(func(context.Context, options, *image.Chain) error { return nil }),
	"primitives": withImage(primitives),
	"profile":    withImage(profile),
	"chain":      withImage(compare),
	"scale":      scales,
	"live":       withImage(live),
	"latency":    withImage(latencies),
	"instant":    withImage(instants),
	"report":     withImage(join),
}

// withImage builds the image first, if it isn't there.
func withImage(do func(context.Context, options, *image.Chain) error) func(context.Context, options) error {
	return func(ctx context.Context, o options) error {
		size, err := parseSize(o.size)
		if err != nil {
			return err
		}
		chain, err := image.Build(ctx, image.Spec{Size: size, Seed: o.seed, Days: o.days, Dir: o.cache}, log.Printf)
		if err != nil {
			return err
		}
		return do(ctx, o, chain)
	}
}

// parseSize reads a size like 16GiB or 512MiB.
func parseSize(s string) (int64, error) {
	var n int64
	var unit string
	if _, err := fmt.Sscanf(s, "%d%s", &n, &unit); err != nil || n <= 0 {
		return 0, fmt.Errorf("-size %q: want a number and MiB or GiB", s)
	}
	switch unit {
	case "MiB":
		return n << 20, nil
	case "GiB":
		return n << 30, nil
	}
	return 0, fmt.Errorf("-size %q: the unit is MiB or GiB", s)
}

// packages is what each needed program is in on Debian.
var packages = map[string]string{
	"restic": "restic", "borg": "borgbackup", "qemu-img": "qemu-utils", "qemu-storage-daemon": "qemu-system-common",
	"nbdcopy": "libnbd-bin", "mmdebstrap": "mmdebstrap", "mkfs.ext4": "e2fsprogs", "losetup": "mount",
	"virtnbdbackup": "virtnbdbackup", "virsh": "libvirt-clients", "libvirtd": "libvirt-daemon-system", "qemu-system-x86_64": "qemu-system-x86",
}

// installPeers installs what is missing.
func installPeers(ctx context.Context) error {
	var missing []string
	for program, pkg := range packages {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, pkg)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	log.Printf("installing %s", strings.Join(missing, " "))
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-qq", "-y", "install", "--no-install-recommends"}, missing...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get install %s: %w: %s", strings.Join(missing, " "), err, out)
	}
	return nil
}
