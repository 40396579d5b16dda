package repository

import (
	"context"
	"fmt"
	"os"
	"strings"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/open"
	"holdfast/internal/repository"
)

// openStore opens the store at url; create makes its place if need be.
func openStore(ctx context.Context, url string, create bool) (objstore.Store, error) {
	if create {
		return open.Create(ctx, url)
	}
	return open.Open(ctx, url)
}

// processOwner is this process as an owner of sessions: another process on this
// machine can tell whether it still lives.
func processOwner() repository.Owner {
	machine, err := os.ReadFile("/etc/machine-id")
	if err != nil || len(machine) == 0 {
		return repository.Owner{}
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return repository.Owner{}
	}
	start, err := started(os.Getpid())
	if err != nil {
		return repository.Owner{}
	}
	here := strings.TrimSpace(string(boot))
	return repository.Owner{
		ID:       "command line on " + strings.TrimSpace(string(machine)),
		Instance: fmt.Sprintf("%d@%s@%s", os.Getpid(), start, here),
		Alive: func(instance string) bool {
			var pid int
			part := strings.SplitN(instance, "@", 3)
			if len(part) != 3 || part[2] != here {
				return false
			}
			if _, err := fmt.Sscan(part[0], &pid); err != nil {
				return true
			}
			at, err := started(pid)
			return err == nil && at == part[1]
		},
	}
}

// started is when a process began, in clock ticks since the boot: field 22 of
// /proc/PID/stat (proc(5)).
func started(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	rest := string(b)
	if i := strings.LastIndexByte(rest, ')'); i >= 0 {
		rest = rest[i+1:]
	}
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	return fields[19], nil
}
