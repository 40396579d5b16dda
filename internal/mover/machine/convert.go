package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/beevik/etree"
	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"holdfast"
	"holdfast/internal/hypervisor"
)

// Disks of a VM that are in no storage pool become managed (matrix MGT-07) one
// after the other. The file of one is at any moment whole under a name that the
// VM's definition has. How far it is, the file system and the definition say:
//
//	definition   pool                                  what is left to do
//	From         nothing, or a marker                  make the marker anew: a copy of From
//	From         To, the same file as marker or From   define
//	To           To, the same file as marker or From   remove From, then the marker
//	To           To                                    nothing
//
// Where both are on one file system To is another name of the same file, and
// nothing is copied. A copy is of the file's bytes, so that what a qcow2 image
// keeps beside the disk (dirty bitmaps, snapshots) goes with it.
type move struct {
	host         hypervisor.Host
	vm           holdfast.VMRef
	target       string
	from, to     string
	marker       string // a second name of a copy until From is gone
	progress     holdfast.Progress
	before, size int64 // of what is copied: by the moves before this one, and in all, bytes
}

// convert moves disks into a pool.
func convert(ctx context.Context, host hypervisor.Host, a holdfast.MachineArgs, p holdfast.Progress) error {
	pool, err := host.Pool(ctx, a.Pool)
	if err != nil {
		return err
	}
	var moves []*move
	for _, k := range a.Move {
		moves = append(moves, &move{host: host, vm: a.VM, target: k.Target, from: k.From, to: filepath.Join(pool.Path, k.Name),
			marker: filepath.Join(pool.Path, ".holdfast-move-"+a.VM.UUID+"-"+k.Target), progress: p})
	}
	if err := movable(ctx, host, a.VM, moves); err != nil {
		return err
	}
	if err := room(moves, pool.Path); err != nil {
		return err
	}
	for _, v := range moves {
		if err := v.run(ctx); err != nil {
			return fmt.Errorf("disk %s to %s: %w", v.target, v.to, err)
		}
		p.Property("Disk "+v.target, v.to)
	}
	// The pool shows the new files; that it doesn't is no failure.
	_ = host.RefreshPool(context.WithoutCancel(ctx), a.Pool)
	return nil
}

// movable refuses, before anything is changed, a VM or a disk that cannot move.
func movable(ctx context.Context, host hypervisor.Host, vm holdfast.VMRef, moves []*move) error {
	all, err := host.Domains(ctx)
	if err != nil {
		return err
	}
	for _, v := range moves {
		for _, d := range all {
			for _, k := range d.Disks {
				if err := v.fits(d, k); err != nil {
					return err
				}
			}
		}
		if info, err := os.Lstat(v.from); err == nil && !info.Mode().IsRegular() {
			return holdfast.Errorf(holdfast.Unsupported, v.from, "%s is no plain file; only such are moved into a pool.", v.from).
				WithHint("Make the pool where it is (`virsh pool-define-as`), and it is a managed disk.")
		}
	}
	return off(ctx, host, vm)
}

// fits refuses a move for what a disk of some VM is.
func (v *move) fits(d hypervisor.Domain, k hypervisor.Disk) error {
	const whole = "Make it whole first: `qemu-img rebase -b \"\"`, or `virsh blockpull`."
	own := d.UUID == v.vm.UUID && k.Target == v.target
	switch {
	case own && k.Kind != "file":
		return holdfast.Errorf(holdfast.Unsupported, v.target, "The disk %s is of the kind %s; only files are moved into a pool.", v.target, k.Kind).
			WithHint("Make a pool that holds it (`virsh pool-define-as`, type disk, logical or iscsi).")
	case own && (k.Backing != "" || k.BackingSocket != ""):
		return holdfast.Errorf(holdfast.Unsupported, v.target, "The disk %s is based on %s%s.", v.target, k.Backing, k.BackingSocket).WithHint(whole)
	case !own && k.Backing == v.from:
		return holdfast.Errorf(holdfast.Conflict, v.from, "The disk %s is the backing image of %s of the VM %q.", v.target, k.Path, d.Name).WithHint(whole)
	case !own && k.Path == v.from:
		return holdfast.Errorf(holdfast.Conflict, v.from, "The disk %s is a disk of the VM %q, too.", v.target, d.Name).WithHint("Detach it from one of the two.")
	}
	return nil
}

// off refuses a VM that is not off.
func off(ctx context.Context, host hypervisor.Host, vm holdfast.VMRef) error {
	d, err := host.Domain(ctx, vm.UUID)
	switch {
	case err != nil:
		return err
	case d.State != hypervisor.ShutOff || d.Saved || !d.Persistent:
		return holdfast.Errorf(holdfast.Conflict, vm.Name, "The VM %q is not off, or is off with its memory saved: its disks are not moved under it.", vm.Name).
			WithHint("Deallocate it (`az vm deallocate`), and convert it again.")
	}
	return nil
}

// room refuses a pool that the copies do not fit into.
func room(moves []*move, pool string) error {
	var there unix.Statfs_t
	var at unix.Stat_t
	if err := errors.Join(unix.Statfs(pool, &there), unix.Stat(pool, &at)); err != nil {
		return fmt.Errorf("pool %s: %w", pool, err)
	}
	var need int64
	for _, v := range moves {
		var st unix.Stat_t
		if unix.Stat(v.from, &st) != nil || st.Dev == at.Dev {
			continue // moved already, or not copied
		}
		if _, err := os.Lstat(v.to); err == nil {
			continue // copied already
		}
		v.before = need
		need += st.Blocks * 512
	}
	for _, v := range moves {
		v.size = need
	}
	if free := int64(there.Bavail) * there.Bsize; need > free {
		return holdfast.Errorf(holdfast.Full, pool, "The disks need %s in %s, which has %s left.", humanize.IBytes(uint64(need)), pool, humanize.IBytes(uint64(free))).
			WithHint("Make room, or name another pool.")
	}
	return nil
}

// run brings one disk into the pool, from wherever an earlier run left it.
func (v *move) run(ctx context.Context) error {
	has, err := v.defined(ctx)
	switch {
	case err != nil:
		return err
	case has == v.to:
		return v.finish(ctx)
	case has != v.from:
		return holdfast.Errorf(holdfast.Conflict, v.vm.Name, "The disk %s of the VM %q is %s now, and not %s.", v.target, v.vm.Name, has, v.from)
	}
	err = v.place(ctx)
	if err == nil {
		err = v.define(ctx, v.from, v.to)
	}
	if err != nil {
		return errors.Join(err, v.takeBack(context.WithoutCancel(ctx)))
	}
	return v.finish(ctx)
}

// defined is the path that the VM's definition gives the disk.
func (v *move) defined(ctx context.Context) (string, error) {
	xml, err := v.host.DomainXML(ctx, v.vm.UUID)
	if err != nil {
		return "", err
	}
	_, source, err := sourceOf(xml, v.target)
	if err != nil {
		return "", err
	}
	return source.SelectAttrValue("file", ""), nil
}

// place gives the whole disk its name in the pool.
func (v *move) place(ctx context.Context) error {
	if sameFile(v.from, v.to) || sameFile(v.marker, v.to) {
		return nil // an earlier run did it
	}
	if _, err := os.Lstat(v.to); !errors.Is(err, fs.ErrNotExist) {
		return holdfast.Errorf(holdfast.Conflict, v.to, "The file %s exists already.", v.to).WithHint("Rename one of the two, or name another pool; nothing was overwritten.").WithCause(err)
	}
	if err := os.Remove(v.marker); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := os.Link(v.from, v.to)
	if errors.Is(err, syscall.EXDEV) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EMLINK) {
		progress := func(done, _ int64) { v.progress.Bytes(v.before+min(done, v.size-v.before), v.size) }
		if err = copyFile(ctx, v.from, v.marker, progress); err == nil {
			err = os.Link(v.marker, v.to)
		}
	}
	return errors.Join(err, syncDir(filepath.Dir(v.to)))
}

// define puts one path in the place of another in the definition of a VM that is
// off.
func (v *move) define(ctx context.Context, from, to string) error {
	if err := off(ctx, v.host, v.vm); err != nil {
		return err
	}
	return v.redefine(ctx, from, to)
}

func (v *move) redefine(ctx context.Context, from, to string) error {
	xml, err := v.host.DomainXML(ctx, v.vm.UUID)
	if err != nil {
		return err
	}
	doc, source, err := sourceOf(xml, v.target)
	if err != nil {
		return err
	}
	if has := source.SelectAttrValue("file", ""); has != from {
		return holdfast.Errorf(holdfast.Conflict, v.vm.Name, "The disk %s of the VM %q is %s now, and not %s.", v.target, v.vm.Name, has, from)
	}
	source.CreateAttr("file", to)
	if xml, err = doc.WriteToString(); err != nil {
		return err
	}
	return v.host.Redefine(ctx, v.vm.UUID, xml)
}

// finish removes the old name of a disk that the VM has in the pool. Somebody may
// have started the VM just before it was defined anew: then it runs on the old
// file, and keeps it.
func (v *move) finish(ctx context.Context) error {
	d, err := v.host.Domain(ctx, v.vm.UUID)
	if err != nil {
		return err
	}
	if d.State.Active() && slices.ContainsFunc(d.Disks, func(k hypervisor.Disk) bool { return k.Target == v.target && k.Path == v.from }) {
		err := holdfast.Errorf(holdfast.Conflict, v.vm.Name, "The VM %q was started meanwhile; the disk %s stays where it was.", v.vm.Name, v.target).WithHint("Deallocate it, and convert it again.")
		return errors.Join(err, v.redefine(ctx, v.to, v.from), v.takeBack(context.WithoutCancel(ctx)))
	}
	if sameFile(v.from, v.to) || sameFile(v.marker, v.to) {
		if err := os.Remove(v.from); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := syncDir(filepath.Dir(v.from)); err != nil {
			return err
		}
	}
	if err := os.Remove(v.marker); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(filepath.Dir(v.to))
}

// takeBack removes what this move has made in the pool, if the VM's definition
// still has the old file. Where it cannot tell it leaves all as it is.
func (v *move) takeBack(ctx context.Context) error {
	if has, err := v.defined(ctx); err != nil || has != v.from {
		return err
	}
	if sameFile(v.from, v.to) || sameFile(v.marker, v.to) {
		if err := os.Remove(v.to); err != nil {
			return err
		}
	}
	if err := os.Remove(v.marker); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// sourceOf is the <source> of a disk in a definition.
func sourceOf(xml, target string) (*etree.Document, *etree.Element, error) {
	doc := etree.NewDocument()
	if err := doc.ReadFromString(xml); err != nil {
		return nil, nil, fmt.Errorf("domain XML: %w", err)
	}
	for _, d := range doc.FindElements("/domain/devices/disk") {
		if t := d.SelectElement("target"); t == nil || t.SelectAttrValue("dev", "") != target {
			continue
		}
		if s := d.SelectElement("source"); s != nil {
			return doc, s, nil
		}
	}
	return nil, nil, holdfast.Errorf(holdfast.Conflict, target, "The VM has no disk %s any more.", target)
}

// sameFile says whether two paths are names of one file.
func sameFile(a, b string) bool {
	one, err := os.Lstat(a)
	if err != nil {
		return false
	}
	two, err := os.Lstat(b)
	return err == nil && os.SameFile(one, two)
}
