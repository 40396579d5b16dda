package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"holdfast"
	"holdfast/internal/disk/image"
	"holdfast/internal/hypervisor"
	"holdfast/internal/mover"
)

// Disks that libvirt opens with a key come back encrypted under the same secret, which
// the point keeps: the image has a volume key of its own, and the passphrase that the
// original has (matrix STO-05, RPT-30). A secret that the host does not have is defined
// before the disks are written, so that a VM boots on any host.

// secret is the one that opens a disk of the point.
func (r *run) secret(f holdfast.DiskFact) (hypervisor.Secret, bool) {
	i := slices.IndexFunc(r.manifest.Secrets, func(s hypervisor.Secret) bool { return s.UUID == f.Secret })
	if f.Secret == "" || i < 0 {
		return hypervisor.Secret{}, false
	}
	return r.manifest.Secrets[i], true
}

// keysFit refuses what would bring encrypted disks back in the clear.
func (r *run) keysFit(disks []mover.ManifestDisk) error {
	for _, d := range disks {
		_, kept := r.secret(d.Fact)
		switch {
		case d.Fact.Secret != "" && !kept:
			return holdfast.Errorf(holdfast.Damaged, d.Fact.Target, "The point does not hold the secret %s of the encrypted disk %s.", d.Fact.Secret, d.Fact.Target)
		case kept && r.args.Mode == holdfast.ReplaceDisks:
			return holdfast.Errorf(holdfast.Unsupported, d.Fact.Target, "The disk %s is encrypted in the point; such disks replace none (RST-03).", d.Fact.Target).
				WithHint("Restore the point as a new VM (AlternateLocation).")
		case kept && r.args.BootFirst:
			return holdfast.Errorf(holdfast.Unsupported, d.Fact.Target, "The disk %s is encrypted; a VM that ran straight from the point would write what it has in the clear.", d.Fact.Target).
				WithHint("Restore the VM without instant: it boots when its disks are encrypted again.")
		}
	}
	return nil
}

// target is the image that a disk is restored to.
func (r *run) target(ctx context.Context, f holdfast.DiskFact) (*image.Target, error) {
	path := r.staging.path(r.name(f.Target))
	if s, ok := r.secret(f); ok {
		return image.CreateSealed(ctx, path, r.args.Format, f.Size, s.Value)
	}
	return image.CreateTarget(ctx, path, r.args.Format, f.Size)
}

// secrets has the host know the secrets of the disks; undo forgets those that it did
// not know before.
func (r *run) secrets(ctx context.Context, disks []mover.ManifestDisk) (undo func(), err error) {
	var made []string
	undo = func() {
		for _, id := range made {
			if err := r.host.UndefineSecret(context.WithoutCancel(ctx), id); err != nil {
				r.progress.Warn(fmt.Sprintf("The libvirt secret %s is left behind: %v.", id, err))
			}
		}
	}
	for _, s := range r.manifest.Secrets {
		if !slices.ContainsFunc(disks, func(d mover.ManifestDisk) bool { return d.Fact.Secret == s.UUID }) {
			continue
		}
		fresh, err := r.host.DefineSecret(ctx, s)
		switch {
		case errors.Is(err, hypervisor.ErrPrivateSecret): // it is there, and as private as its owner wants it
			r.progress.Warn(fmt.Sprintf("The libvirt secret %s is private on the host, so that nobody sees whether it has the value that opens the restored disks.", s.UUID))
		case errors.Is(err, hypervisor.ErrExists), errors.Is(err, hypervisor.ErrInvalid):
			undo()
			return nil, holdfast.Errorf(holdfast.Conflict, s.UUID, "The host has the libvirt secret %s of the encrypted disks with another value, or its usage belongs to another secret.", s.UUID).
				WithHint("Undefine the other one (virsh secret-undefine), or restore to another host.").WithCause(err)
		case err != nil:
			undo()
			return nil, err
		case fresh:
			made = append(made, s.UUID)
			r.progress.Property("Secret "+s.UUID, "defined on the host with its value")
		}
	}
	return undo, nil
}

// sealedUnder is the secret that opens an image which is put in the place of a disk of
// the point: that disk's, if the image is encrypted; "" for none.
func (r *run) sealedUnder(was, attached holdfast.DiskFact) string {
	s, ok := r.secret(was)
	if !ok {
		return ""
	}
	if sealed, err := image.Encrypted(attached.Path, attached.Format); err != nil || !sealed {
		return ""
	}
	return s.UUID
}
