package libvirt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	rpc "github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"
	"libvirt.org/go/libvirtxml"

	"holdfast/internal/hypervisor"
)

// Secret gives a secret with its value (https://libvirt.org/formatsecret.html). A
// disk may name one by its usage, which is that of a volume.
func (h *Host) Secret(ctx context.Context, ref hypervisor.SecretRef) (hypervisor.Secret, error) {
	return call(ctx, h, func(l *rpc.Libvirt) (s hypervisor.Secret, err error) {
		var found rpc.Secret
		if ref.UUID == "" {
			found, err = l.SecretLookupByUsage(int32(rpc.SecretUsageTypeVolume), ref.Usage)
		} else {
			found, err = secretOf(l, ref.UUID)
		}
		if err != nil {
			return s, err
		}
		s.UUID = uuid.UUID(found.UUID).String()
		if s.XML, err = l.SecretGetXMLDesc(found, 0); err != nil {
			return s, err
		}
		s.Value, err = l.SecretGetValue(found, 0)
		return s, err
	})
}

func secretOf(l *rpc.Libvirt, id string) (rpc.Secret, error) {
	u, err := uuid.Parse(id)
	if err != nil {
		return rpc.Secret{}, fmt.Errorf("%w: secret UUID %q", hypervisor.ErrInvalid, id)
	}
	return l.SecretLookupByUUID(rpc.UUID(u))
}

// DefineSecret makes a secret with its value, and leaves one that has it as it is.
// One whose definition is there without a value is given it.
func (h *Host) DefineSecret(ctx context.Context, s hypervisor.Secret) (fresh bool, err error) {
	return call(ctx, h, func(l *rpc.Libvirt) (bool, error) {
		var x libvirtxml.Secret
		if err := x.Unmarshal(s.XML); err != nil || !strings.EqualFold(x.UUID, s.UUID) {
			return false, fmt.Errorf("%w: XML of the secret %s", hypervisor.ErrInvalid, s.UUID)
		}
		found, err := secretOf(l, s.UUID)
		switch {
		case err == nil:
			return false, fill(l, found, s)
		case !errors.Is(classify(err), hypervisor.ErrNoSecret):
			return false, err
		}
		if found, err = l.SecretDefineXML(s.XML, 0); err != nil {
			return false, badXML(err)
		}
		if err := l.SecretSetValue(found, s.Value, 0); err != nil {
			return false, errors.Join(err, l.SecretUndefine(found))
		}
		return true, nil
	})
}

// fill gives a secret that is there its value, if it has none.
func fill(l *rpc.Libvirt, found rpc.Secret, s hypervisor.Secret) error {
	value, err := l.SecretGetValue(found, 0)
	switch {
	case errors.Is(classify(err), hypervisor.ErrNoSecret):
		return l.SecretSetValue(found, s.Value, 0)
	case err == nil && !bytes.Equal(value, s.Value):
		return fmt.Errorf("%w: the secret %s, with another value", hypervisor.ErrExists, s.UUID)
	}
	return err
}

// UndefineSecret forgets a secret; not there is no error.
func (h *Host) UndefineSecret(ctx context.Context, id string) error {
	return do(ctx, h, func(l *rpc.Libvirt) error {
		found, err := secretOf(l, id)
		if err == nil {
			err = l.SecretUndefine(found)
		}
		if errors.Is(classify(err), hypervisor.ErrNoSecret) {
			return nil
		}
		return err
	})
}

// encryption says how libvirt opens a disk's image with a key.
func encryption(x *libvirtxml.DomainDisk) *libvirtxml.DomainDiskEncryption {
	if x.Source != nil && x.Source.Encryption != nil {
		return x.Source.Encryption
	}
	return x.Encryption
}
