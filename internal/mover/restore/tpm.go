package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"holdfast/internal/snapshot"
)

// restoreTPM gives a new VM, before its first start, the state of the original's
// emulated TPM: without it whatever the guest sealed (BitLocker, LUKS) asks for
// its recovery key. That it can't is no reason to go without the VM.
func (r *run) restoreTPM(ctx context.Context, uuid string) error {
	if len(r.manifest.TPM) == 0 {
		return nil
	}
	d, err := r.host.Domain(ctx, uuid)
	if err != nil {
		return err
	}
	if d.TPM == nil || d.TPM.StatePath == "" {
		return errors.New("the restored definition has no emulated TPM")
	}
	owner, group := swtpmUser()
	return writeTPM(d.TPM.StatePath, r.manifest.TPM, owner, group)
}

// writeTPM makes the state directory that libvirt then finds and takes as it is
// (docs/formatdomain: <tpm>; the directory's parent is the domain's own).
func writeTPM(dir string, files []snapshot.File, owner, group int) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o711); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err // a state that is there belongs to somebody
	}
	for _, f := range files {
		if f.Name != filepath.Base(f.Name) || f.Name == "." || f.Name == ".." {
			return fmt.Errorf("the point's TPM state has a file named %q", f.Name)
		}
		path := filepath.Join(dir, f.Name)
		if err := writeFile(path, f.Data); err != nil {
			return err
		}
		if err := os.Chown(path, owner, group); err != nil {
			return err
		}
	}
	return errors.Join(os.Chown(dir, owner, group), syncDir(dir))
}

// swtpmUser is whom libvirt runs swtpm as, unless qemu.conf says otherwise
// (swtpm_user: tss; swtpm in newer packages), else this process's user.
func swtpmUser() (uid, gid int) {
	for _, name := range []string{"tss", "swtpm"} {
		if u, err := user.Lookup(name); err == nil {
			uid, uerr := strconv.Atoi(u.Uid)
			gid, gerr := strconv.Atoi(u.Gid)
			if uerr == nil && gerr == nil {
				return uid, gid
			}
		}
	}
	return os.Getuid(), os.Getgid()
}
