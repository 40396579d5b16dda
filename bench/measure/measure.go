// Package measure runs a program as a whole process and says what it cost.
//
// A figure counts from the start of the process until everything it wrote has
// reached the disk: files that the program left unsynced are synced inside the
// measured time, so a program that does not sync gains nothing by it. What a
// program reads is put into the page cache beforehand, and what others wrote is on
// the disk before the clock starts, for all alike.
package measure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Command is a program to be run.
type Command struct {
	Args []string
	Env  []string // NAME=value, added to this process's environment
	Dir  string
}

// Cost is what one run took.
type Cost struct {
	Wall   float64 `json:"wall"`   // seconds, syncing included
	CPU    float64 `json:"cpu"`    // seconds of processor time, user and system
	Sync   float64 `json:"sync"`   // the seconds of Wall spent syncing after the process ended
	Memory int64   `json:"memory"` // bytes, peak resident set of the largest process
}

// Run runs the command, syncs what is below written, and returns the cost.
func Run(ctx context.Context, c Command, written ...string) (Cost, error) {
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Env, cmd.Dir = append(os.Environ(), c.Env...), c.Dir
	var complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.Discard, &complaint
	unix.Sync()
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return Cost{}, fmt.Errorf("%s: %w: %s", strings.Join(c.Args, " "), err, lastLines(complaint.String()))
	}
	ended := time.Now()
	for _, path := range written {
		if err := syncTree(path); err != nil {
			return Cost{}, err
		}
	}
	done := time.Now()
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return Cost{
		Wall:   done.Sub(start).Seconds(),
		Sync:   done.Sub(ended).Seconds(),
		CPU:    (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(),
		Memory: usage.Maxrss << 10,
	}, nil
}

func lastLines(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > 1000 {
		s = "…" + s[len(s)-1000:]
	}
	return s
}

// files calls do with every regular file at or below path.
func files(path string, do func(path string) error) error {
	return filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return do(p)
	})
}

func syncTree(path string) error {
	return files(path, func(p string) error {
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Sync()
	})
}

// Warm reads everything at or below path into the page cache.
func Warm(path string) error {
	buffer := make([]byte, 1<<20)
	return files(path, func(p string) error {
		return eachData(p, func(f *os.File, off, length int64) error {
			_, err := io.CopyBuffer(onlyWriter{}, io.NewSectionReader(f, off, length), buffer)
			return err
		})
	})
}

type onlyWriter struct{}

func (onlyWriter) Write(p []byte) (int, error) { return len(p), nil }

// Size is the sum of the sizes of the files at or below path, in bytes.
func Size(path string) (int64, error) {
	total := int64(0)
	err := files(path, func(p string) error {
		st, err := os.Stat(p)
		if err == nil {
			total += st.Size()
		}
		return err
	})
	return total, err
}

// eachData calls do with each range of the file that is not a hole.
func eachData(path string, do func(f *os.File, off, length int64) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for end := int64(0); ; {
		start, err := unix.Seek(int(f.Fd()), end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return err
		}
		if end, err = unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE); err != nil {
			return err
		}
		if err := do(f, start, end-start); err != nil {
			return err
		}
	}
}

// Same fails unless the two files read the same, byte for byte. Ranges that
// are holes in both are not read.
func Same(a, b string) error {
	sa, err := os.Stat(a)
	if err != nil {
		return err
	}
	sb, err := os.Stat(b)
	if err != nil {
		return err
	}
	if sa.Size() != sb.Size() {
		return fmt.Errorf("%s has %d bytes, %s has %d", a, sa.Size(), b, sb.Size())
	}
	if err := covered(a, b); err != nil {
		return err
	}
	return covered(b, a)
}

// covered fails unless the data ranges of a read the same in b.
func covered(a, b string) error {
	other, err := os.Open(b)
	if err != nil {
		return err
	}
	defer other.Close()
	x, y := make([]byte, 1<<20), make([]byte, 1<<20)
	return eachData(a, func(f *os.File, off, length int64) error {
		for length > 0 {
			n := min(length, int64(len(x)))
			if _, err := f.ReadAt(x[:n], off); err != nil {
				return err
			}
			if _, err := other.ReadAt(y[:n], off); err != nil {
				return err
			}
			if !bytes.Equal(x[:n], y[:n]) {
				return fmt.Errorf("%s and %s differ within %d bytes from %d", a, b, n, off)
			}
			off, length = off+n, length-n
		}
		return nil
	})
}
