// Package image opens disk images as Sources and makes new ones as Targets.
//
// Formats are raw and qcow2. [OpenSource] reads raw disks and plain qcow2
// images in this process; qcow2 images with features that
// [holdfast/internal/disk/qcow2] does not read (backing files, subclusters…)
// go through a qemu-nbd child over a socket in a private directory.
// [CreateTarget] makes an image under a temporary name beside its place and
// gives it its name when it is whole and durable: there is never half a file
// under the name, and a file that exists is never overwritten.
package image

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/internal/disk/qcow2"
)

// The formats.
const (
	Raw   = "raw"
	Qcow2 = "qcow2"
)

// ErrFormat marks a disk that is not of a format that is read here, or not of
// the one that the caller named. The error names the path and what was found.
var ErrFormat = errors.New("image: wrong format")

// signatures of formats that must not pass for raw. Offsets count from the
// start of the file, or from its end where negative.
var signatures = []struct {
	format string
	offset int64
	magic  string
}{
	{Qcow2, 0, "QFI\xfb"}, // versions 2 and 3; version 1 has the same magic
	{"qed", 0, "QED\x00"},
	{"vmdk", 0, "KDMV"},
	{"vmdk", 0, "COWD"},
	{"vmdk", 0, "# Disk DescriptorFile"},
	{"vhdx", 0, "vhdxfile"},
	{"vpc", 0, "conectix"},
	{"vpc", -512, "conectix"},
	{"vdi", 64, "\x7f\x10\xda\xbe"},
	{"luks", 0, "LUKS\xba\xbe"},
	{"parallels", 0, "WithoutFreeSpace"},
	{"parallels", 0, "WithouFreSpacExt"},
	{"dmg", -512, "koly"},
	{"bochs", 0, "Bochs Virtual HD Image"},
}

// probe names the format whose signature a disk bears: Raw if none. It reads
// no more than the signatures, and trusts nothing else.
func probe(r io.ReaderAt, size int64) (string, error) {
	for _, s := range signatures {
		at := s.offset
		if at < 0 {
			at += size
		}
		if at < 0 || at+int64(len(s.magic)) > size {
			continue
		}
		b := make([]byte, len(s.magic))
		if n, err := r.ReadAt(b, at); n < len(b) {
			return "", err
		}
		if bytes.Equal(b, []byte(s.magic)) {
			return s.format, nil
		}
	}
	return Raw, nil
}

// Probe says what a disk is: Raw, Qcow2 or the name of a format that is not
// read here.
//
// A guest owns the bytes of its raw disk, and can write a qcow2 header into
// it. So the signature is believed only where nothing speaks against it: an
// image on a block device or in a file named *.raw must be told by its owner,
// and one that points to other files (which a guest could aim at any file of
// the host) likewise; those are ErrFormat here.
func Probe(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	format, err := probe(f, size)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	if format != Qcow2 {
		return format, nil
	}
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !st.Mode().IsRegular() || strings.EqualFold(filepath.Ext(path), ".raw") {
		return "", fmt.Errorf("%w: %s bears the signature of qcow2, but may be a raw disk whose guest wrote it: name the format", ErrFormat, path)
	}
	h, err := qcow2.ReadHeader(f, size)
	if err != nil {
		return "", fmt.Errorf("%w: %s bears the signature of qcow2: %w", ErrFormat, path, err)
	}
	if h.Backing != "" || h.DataFile {
		return "", fmt.Errorf("%w: %s looks like a qcow2 image that takes its bytes from another file: name the format if that is so", ErrFormat, path)
	}
	return Qcow2, nil
}
