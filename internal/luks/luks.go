// Package luks has QEMU's programs make and open images that are encrypted with LUKS:
// qcow2 with encrypt.format=luks, and raw ones, which QEMU calls luks.
//
// A passphrase goes to a program by a pipe: it is in no argument, no environment and
// no file. The package promises nothing of what is in an image.
package luks

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// Key is a passphrase. It prints as nothing.
type Key []byte

// String hides the passphrase from logs.
func (Key) String() string { return "[key]" }

// GoString hides the passphrase from logs.
func (Key) GoString() string { return "[key]" }

// object is the name under which options find the key.
const object = "key"

// maxKey is the longest passphrase that is handed over, bytes: what its base64 takes
// has to fit into a pipe, which holds 64 KiB (pipe(7)).
const maxKey = 32 << 10

// Hand gives a program, which is not started yet, the passphrase. It returns the
// arguments by which the program finds it, and what to call when it has started.
func (k Key) Hand(cmd *exec.Cmd) (args []string, started func(), err error) {
	if len(k) > maxKey {
		return nil, nil, fmt.Errorf("the passphrase has %d bytes, %d are the most", len(k), maxKey)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	_, err = w.WriteString(base64.StdEncoding.EncodeToString(k))
	if closeErr := w.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		r.Close()
		return nil, nil, err
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, r)
	fd := 2 + len(cmd.ExtraFiles) // exec.Cmd: the first is 3
	return []string{"--object", fmt.Sprintf("secret,id=%s,format=base64,file=/dev/fd/%d", object, fd)}, func() { r.Close() }, nil
}

// Opts are the image options (--image-opts) by which an encrypted image of a format,
// raw or qcow2, is opened with the key that was handed over.
func Opts(format, path string) string {
	how := "driver=qcow2,encrypt.key-secret=" + object
	if format == "raw" {
		how = "driver=luks,key-secret=" + object
	}
	return how + ",file.filename=" + strings.ReplaceAll(path, ",", ",,")
}

// Format is what QEMU calls an encrypted image of a format.
func Format(format string) string {
	if format == "raw" {
		return "luks"
	}
	return format
}

// Create makes an empty encrypted image of a format, raw or qcow2, whose guest sees
// size bytes; what is there is overwritten. random says that the key is one: it needs
// no stretching.
func Create(ctx context.Context, path, format string, size int64, key Key, random bool) error {
	options, prefix := "encrypt.format=luks,", "encrypt."
	if format == "raw" {
		options, prefix = "", ""
	}
	options += prefix + "key-secret=" + object
	if random {
		options += "," + prefix + "iter-time=10"
	}
	return Retry(func() error {
		cmd := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", Format(format), "-o", options)
		args, started, err := key.Hand(cmd)
		if err != nil {
			return err
		}
		defer started()
		cmd.Args = append(append(cmd.Args, args...), "--", path, strconv.FormatInt(size, 10))
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("make the encrypted image %s: %w: %s", path, err, strings.TrimSpace(string(out)))
		}
		return nil
	})
}

// tries is how often an image is made: QEMU measures how fast it stretches a
// passphrase by its thread's processor time, which on a busy machine can seem to run
// backward, and gives up then (crypto/pbkdf.c of QEMU 7.2).
const tries = 10

// Retry makes an image again after that failure.
func Retry(make func() error) (err error) {
	for range tries {
		if err = make(); err == nil || !strings.Contains(err.Error(), "accurate CPU usage") {
			break
		}
	}
	return err
}
