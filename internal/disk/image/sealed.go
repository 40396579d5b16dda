package image

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"holdfast/internal/disk/qcow2"
	"holdfast/internal/luks"
	"holdfast/internal/nbd"
)

// quick is for tests: passphrases are not stretched.
var quick bool

// CreateSealed is CreateTarget of an image that is encrypted with LUKS under a
// passphrase. The bytes are encrypted by a qemu-nbd child: the image has a volume key
// of its own.
func CreateSealed(ctx context.Context, path, format string, size int64, key luks.Key) (*Target, error) {
	t, err := newPartial(ctx, path, format)
	if err != nil {
		return nil, err
	}
	if err = luks.Create(ctx, t.partial, format, size, key, quick); err == nil {
		err = t.encrypting(ctx, format, key)
	}
	if err != nil {
		_ = t.Close()
		return nil, err
	}
	if got := t.Target.Size(); got != size {
		_ = t.Close()
		return nil, fmt.Errorf("%s: the encrypted image has %d bytes instead of %d", path, got, size)
	}
	return t, nil
}

// encrypting has a child write the image.
func (t *Target) encrypting(ctx context.Context, format string, key luks.Key) (err error) {
	if t.child, err = startSealed(t.partial, format, key); err != nil {
		return err
	}
	client, err := t.child.dial(ctx, nbd.Options{Connections: 2})
	if err != nil {
		t.child = nil // dial has closed it
		return err
	}
	// What nobody has written to a raw image decrypts to noise.
	t.Target, err = nbd.NewTarget(client, nbd.TargetOptions{Fresh: format == Qcow2})
	return err
}

// luksMagic starts a raw image that is encrypted with LUKS (LUKS1 On-Disk Format
// Specification 1.2.3, 2.2).
var luksMagic = []byte("LUKS\xba\xbe")

// Encrypted says whether an image of a format is encrypted with LUKS.
func Encrypted(path, format string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if format == Raw {
		head := make([]byte, len(luksMagic))
		n, err := f.ReadAt(head, 0)
		if err != nil && err != io.EOF {
			return false, err
		}
		return bytes.Equal(head[:n], luksMagic), nil
	}
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	h, err := qcow2.ReadHeader(f, info.Size())
	return err == nil && h.Encrypted, err
}
