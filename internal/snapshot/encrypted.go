package snapshot

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"holdfast/internal/hypervisor"
	"holdfast/internal/luks"
)

// Disks that libvirt opens with a key (matrix STO-05). QEMU decrypts them: what is
// read of a disk is what its guest sees. So the key goes with the point, and what of
// a running guest's disk has to be set aside is encrypted, too.

// secretOf asks the host for the secret of an encrypted disk.
func secretOf(ctx context.Context, host hypervisor.Host, d hypervisor.Disk) (hypervisor.Secret, error) {
	if d.Cipher != hypervisor.LUKS || d.Secret == (hypervisor.SecretRef{}) {
		return hypervisor.Secret{}, &FormatError{Target: d.Target, Path: d.Path, Format: "encrypted otherwise than with LUKS under one secret"}
	}
	s, err := host.Secret(ctx, d.Secret)
	if err != nil {
		err = fmt.Errorf("disk %s, secret %s%s: %w", d.Target, d.Secret.UUID, d.Secret.Usage, err)
	}
	return s, err
}

// aboutKey looks for what opens an encrypted disk.
func aboutKey(ctx context.Context, host hypervisor.Host, d hypervisor.Disk) []Finding {
	if !d.Encrypted {
		return nil
	}
	subject := "disk " + d.Target
	if _, err := secretOf(ctx, host, d); err != nil {
		return []Finding{{Blocks, subject, fmt.Sprintf("its key cannot be kept with a point: %v", err),
			"let libvirt have the secret with its value, and not private (virsh secret-define, secret-set-value)"}}
	}
	return []Finding{{Good, subject, "it is encrypted; its libvirt secret is kept with each point", ""}}
}

// unlock asks the host for the secrets of encrypted disks.
func (t *taken) unlock(ctx context.Context) error {
	for i := range t.plan {
		p := &t.plan[i]
		if !p.disk.Encrypted {
			continue
		}
		s, err := secretOf(ctx, t.r.Host, p.disk)
		if err != nil {
			return err
		}
		p.key, p.secret = s.Value, s.UUID
		if !slices.ContainsFunc(t.snap.Secrets, func(o hypervisor.Secret) bool { return o.UUID == s.UUID }) {
			t.snap.Secrets = append(t.snap.Secrets, s)
		}
	}
	return nil
}

// secretUUID is that of the secret which opens the encrypted scratch files of a
// working directory: whoever finds the directory can take it away.
func (w *workdir) secretUUID() string {
	sum := sha256.Sum256([]byte("holdfast scratch " + w.path))
	id, _ := uuid.FromBytes(sum[:16]) // 16 bytes are one
	return id.String()
}

// scratchKey has the host know a random key for the scratch files of encrypted disks,
// while there are any.
func (t *taken) scratchKey(ctx context.Context) error {
	if !slices.ContainsFunc(t.plan, func(p planned) bool { return p.key != nil }) {
		return nil
	}
	var b [32]byte
	if _, err := rand.Read(b[:]); err != nil {
		return err
	}
	t.dir.key = luks.Key(hex.EncodeToString(b[:]))
	id := t.dir.secretUUID()
	s := hypervisor.Secret{UUID: id, Value: t.dir.key,
		XML: "<secret ephemeral='yes' private='yes'><uuid>" + id + "</uuid><description>scratch files of a Holdfast backup</description></secret>"}
	if _, err := t.r.Host.DefineSecret(ctx, s); err != nil {
		return fmt.Errorf("a key for scratch files: %w", err)
	}
	t.closers = append(t.closers, func() error { return t.r.Host.UndefineSecret(context.WithoutCancel(ctx), id) })
	return nil
}

// forgetKeys takes the keys of the scratch files of dead processes away.
func forgetKeys(ctx context.Context, host hypervisor.Host, dead []*workdir) (failed error) {
	for _, w := range dead {
		failed = errors.Join(failed, host.UndefineSecret(ctx, w.secretUUID()))
	}
	return failed
}
