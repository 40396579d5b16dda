// Package report turns the costs of single runs into the figures that are
// quoted: one per name and peer, as a ratio that is good when it is high for
// times and when it is low for sizes and memory.
package report

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"time"

	"holdfast/bench/measure"
)

// The tests that a sample can be of.
const (
	Full        = "full"
	Incremental = "incremental" // with the dirty extents, for a tool that can be told
	Scan        = "scan"        // without them, for such a tool
	Restore     = "restore"
	// RestoreQcow2 is a restore to a qcow2 image, beside a peer's of the raw file, which
	// is all that it can do.
	RestoreQcow2 = "restore_qcow2"
	Verify       = "verify"
	Size         = "size"

	// Of a running VM, beside virtnbdbackup.
	LiveFull        = "live_full"
	LiveIncremental = "live_incremental"
	LiveRestore     = "live_restore"
	// LiveRestoreRaw is to a raw image, beside a peer's to qcow2, which is all that it
	// can do.
	LiveRestoreRaw = "live_restore_raw"

	// From the command that restores a machine instantly to the answer of its agent,
	// beside its boot: with a small data disk, and with one of 1 TiB.
	InstantSmall = "instant_small"
	InstantLarge = "instant_1tib"
)

// LocalBoot stands in a peer's place: the boot of the same machine from its own
// disks.
const LocalBoot = "local_boot"

// Ours is the tool that the others are compared with.
const Ours = "holdfast"

// Sample is one run of one tool.
type Sample struct {
	Tool string `json:"tool"`
	Test string `json:"test"`
	Day  int    `json:"day"` // whose state of the disk it was about; 0 = the base
	measure.Cost
	Bytes int64     `json:"bytes,omitempty"` // of the store, for Size
	At    time.Time `json:"at"`              // when it was done
	Load  string    `json:"load"`            // and how busy the machine was then, itself included
}

// Result is a figure of ours beside a peer's.
type Result struct {
	Name  string  `json:"name"`
	Ours  float64 `json:"ours"`
	Peer  string  `json:"peer"` // with its version
	Their float64 `json:"theirs"`
	Ratio float64 `json:"ratio"`
	Unit  string  `json:"unit"`
}

// Compile makes the results of the samples. versions says for each tool how
// it is to be named. A figure that one side lacks is left out.
func Compile(samples []Sample, versions map[string]string) []Result {
	var list []Result
	for _, peer := range []string{"restic", "borg", "qemu-img", "nbdcopy", "virtnbdbackup", LocalBoot} {
		for _, test := range []string{Full, Incremental, Scan, Restore, RestoreQcow2, Verify, LiveFull, LiveIncremental, LiveRestore, LiveRestoreRaw, InstantSmall, InstantLarge} {
			theirs := test
			switch test {
			case Scan: // a peer always scans
				theirs = Incremental
			case RestoreQcow2:
				theirs = Restore
			case LiveRestoreRaw:
				theirs = LiveRestore
			}
			ours, their, ok := times(samples, test, peer, theirs)
			if ok {
				list = append(list, Result{test + "_vs_" + peer, ours, versions[peer], their, their / ours, "s"})
			}
		}
		if variant, ok := smallest(samples, peer); ok {
			ours, their := size(samples, Ours), size(samples, variant)
			if ours > 0 {
				list = append(list, Result{"size_vs_" + peer, ours, versions[variant], their, ours / their, "bytes"})
			}
			if ours, their := memory(samples, Ours), memory(samples, peer); ours > 0 && their > 0 {
				list = append(list, Result{"peak_memory_vs_" + peer, ours, versions[peer], their, ours / their, "bytes"})
			}
		}
	}
	return list
}

// Processor makes the results of the times once more, of processor time in
// place of wall time: on a machine that others use too it is what can be
// trusted. It counts the measured process and its children, not the servers
// that they talk to.
func Processor(samples []Sample, versions map[string]string) []Result {
	samples = slices.Clone(samples)
	for i := range samples {
		samples[i].Wall = samples[i].CPU
	}
	return slices.DeleteFunc(Compile(samples, versions), func(r Result) bool { return r.Unit != "s" })
}

// smallest is the one way of running the peer ("borg", "borg/zstd") that
// stored the least.
func smallest(samples []Sample, peer string) (variant string, ok bool) {
	for _, s := range samples {
		name, _, _ := strings.Cut(s.Tool, "/")
		if s.Test != Size || name != peer {
			continue
		}
		if !ok || size(samples, s.Tool) < size(samples, variant) {
			variant, ok = s.Tool, true
		}
	}
	return variant, ok
}

// times is the mean over the days that both sides have of the median of a
// day's runs, in seconds.
func times(samples []Sample, test, peer, theirTest string) (ours, theirs float64, ok bool) {
	own, other := byDay(samples, Ours, test), byDay(samples, peer, theirTest)
	days := 0.0
	for day, runs := range own {
		if len(other[day]) == 0 {
			continue
		}
		ours, theirs, days = ours+median(runs), theirs+median(other[day]), days+1
	}
	return ours / days, theirs / days, ours > 0
}

func byDay(samples []Sample, tool, test string) map[int][]float64 {
	days := map[int][]float64{}
	for _, s := range samples {
		if s.Tool == tool && s.Test == test {
			days[s.Day] = append(days[s.Day], s.Wall)
		}
	}
	return days
}

// size is the last size seen of the tool's store.
func size(samples []Sample, tool string) float64 {
	n := int64(0)
	for _, s := range samples {
		if s.Tool == tool && s.Test == Size {
			n = s.Bytes
		}
	}
	return float64(n)
}

// memory is the most that any run of the tool took.
func memory(samples []Sample, tool string) float64 {
	n := int64(0)
	for _, s := range samples {
		if s.Tool == tool {
			n = max(n, s.Memory)
		}
	}
	return float64(n)
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	if n := len(list); n%2 == 0 {
		return (list[n/2-1] + list[n/2]) / 2
	}
	return list[len(list)/2]
}

// Write keeps v as indented JSON at path, whole or not at all.
func Write(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".part", append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".part", path)
}
