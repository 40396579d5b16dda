package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/bench/tool"
)

// machine is what the figures were measured on.
type machine struct {
	Processor string `json:"processor"`
	Cores     int    `json:"cores"`
	Memory    int64  `json:"memory"` // bytes
	Kernel    string `json:"kernel"`
	System    string `json:"system"`
}

func describeMachine() machine {
	m := machine{Cores: runtime.NumCPU(), Processor: field("/proc/cpuinfo", `(?m)^model name\s*:\s*(.*)$`),
		System: field("/etc/os-release", `(?m)^PRETTY_NAME="(.*)"$`)}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	var s unix.Sysinfo_t
	if unix.Sysinfo(&s) == nil {
		m.Memory = int64(s.Totalram) * int64(s.Unit)
	}
	return m
}

// load is how busy the machine is: the averages of 1, 5 and 15 minutes.
func load() string { return field("/proc/loadavg", `^(\S+ \S+ \S+)`) }

// field is the first group of pattern in the file, "" if there is none.
func field(path, pattern string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	if m := regexp.MustCompile(pattern).FindSubmatch(b); m != nil {
		return string(m[1])
	}
	return ""
}

// number is a version; go1.26 is not one of the tool.
var number = regexp.MustCompile(`(?:^|[\s(])v?(\d+(?:\.\d+)+|\(devel\))`)

// version is the tool's name with the version that it states.
func version(ctx context.Context, t tool.Tool) (string, error) {
	out, err := exec.CommandContext(ctx, t.Version[0], t.Version[1:]...).Output()
	if err != nil {
		return "", fmt.Errorf("version of %s: %w", t.Name, err)
	}
	name, _, _ := strings.Cut(t.Name, "/")
	found := number.FindSubmatch(out)
	if found == nil {
		return "", fmt.Errorf("version of %s: %q has none", t.Name, out)
	}
	return strings.TrimSpace(name + " " + string(found[1]) + " " + t.Variant), nil
}

// ourBinary is the holdfast that is measured: the given one, or the one built
// of this tree.
func ourBinary(ctx context.Context, o options) (string, error) {
	if o.binary != "" {
		return filepath.Abs(o.binary)
	}
	path := filepath.Join(o.cache, "holdfast")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", path, "./cmd/holdfast").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/holdfast: %w: %s", err, out)
	}
	return path, nil
}
