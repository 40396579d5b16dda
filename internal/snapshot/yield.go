package snapshot

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// niceness of a process that backs machines up: a guest that wants a processor
// gets nine tenths of it, and what the guests leave is ours (sched(7), the weight
// of nice 10 is 110 of 1024).
const niceness = 10

// Yield makes this process stand back behind the guests' for processor time.
// Compressing wants every processor there is; QEMU, which serves our reads and the
// guest's writes on one thread, must not wait for it. The watchdog does not yield.
func Yield() error {
	// The system call answers 20 less the niceness (getpriority(2)).
	if now, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0); err == nil && 20-now >= niceness {
		return nil // whoever started it wanted that, or more
	}
	return renice(niceness)
}

// renice gives every thread of this process a niceness; later ones inherit it
// (setpriority(2): on Linux it is one of threads).
func renice(nice int) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := syscall.Setpriority(syscall.PRIO_PROCESS, id, nice); err != nil && err != syscall.ESRCH {
			return fmt.Errorf("niceness: %w", err)
		}
	}
	return nil
}
