package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"holdfast/internal/hypervisor"
	"holdfast/internal/luks"
)

// ErrStarted: the VM was off when the snapshot began and did not stay so; what
// was read is no one moment. The backup is to be taken again.
var ErrStarted = errors.New("the virtual machine was started during its backup")

// stamp tells whether a file was written since.
type stamp struct {
	ino, size    int64
	mtime, ctime syscall.Timespec
}

func stampOf(path string) (stamp, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return stamp{}, fmt.Errorf("%s: %w", path, err)
	}
	return stamp{ino: int64(st.Ino), size: st.Size, mtime: st.Mtim, ctime: st.Ctim}, nil
}

// offline opens the images of a domain that is off. It takes no lock that could
// keep the user from starting it: Check tells afterwards whether that happened.
//
// No checkpoint can be made without QEMU. The last one's bitmaps go on
// recording, so this point keeps it: a block that they do not hold later, and
// did not hold now, is in this point as it was in the last and will be then.
func (t *taken) offline(ctx context.Context) error {
	t.snap.Time = time.Now().UTC()
	t.snap.Reason = "the virtual machine is off"
	if t.r.Want != Crash {
		t.snap.Warnings = append(t.snap.Warnings, "crash-consistent only: the virtual machine is off")
	}
	t.stamps = map[string]stamp{}
	var kept []CheckpointDisk
	for i := range t.plan {
		p := &t.plan[i]
		c, err := inspect(ctx, p.disk)
		if err != nil {
			return err
		}
		for _, img := range c {
			if t.stamps[img.Filename], err = stampOf(img.Filename); err != nil {
				return err
			}
		}
		p.disk.Size = c[0].Size
		t.decideOffline(p, c)
		if err := t.serve(ctx, *p); err != nil {
			return err
		}
		if !p.incremental {
			continue
		}
		also, err := changed(ctx, t.snap.Disks[len(t.snap.Disks)-1].Source, maxRanges)
		if err != nil {
			return err
		}
		kept = append(kept, CheckpointDisk{Target: p.disk.Target, ChangeID: changeID(p.disk), Size: p.base, Also: also})
	}
	if len(kept) > 0 {
		t.snap.Checkpoint = &Checkpoint{Name: t.r.Last.Name, XML: t.r.Last.XML, Disks: kept}
	}
	return nil
}

// decideOffline says whether a disk can be read incrementally.
func (t *taken) decideOffline(p *planned, c chain) {
	if p.disk.Format != "qcow2" {
		p.reason = p.disk.Format + " images cannot record changes"
		return
	}
	if p.since(t.r.Last); p.incremental {
		p.incremental, p.reason = c.usable(t.r.Last.Name)
	}
}

// serveTimeout bounds the start of qemu-nbd.
const serveTimeout = 30 * time.Second

// serve starts a qemu-nbd that serves one image read-only and opens it. It ends
// with its last client, and is killed when this process dies before it had one.
func (t *taken) serve(ctx context.Context, p planned) error {
	socket := filepath.Join(t.dir.path, p.disk.Target)
	escape := strings.NewReplacer(",", ",,")
	args := []string{"--read-only", "--shared=16", "--socket=" + socket, "--export-name=" + p.disk.Target}
	if p.incremental {
		args = append(args, "--bitmap="+t.r.Last.Name)
	}
	opts := fmt.Sprintf("driver=%s,file.filename=%s", p.disk.Format, escape.Replace(p.disk.Path))
	if p.key != nil {
		opts = luks.Opts(p.disk.Format, p.disk.Path)
	}
	cmd := exec.CommandContext(t.life, "qemu-nbd", append(args, "--image-opts", opts+",force-share=on,read-only=on")...)
	if p.key != nil {
		more, started, err := p.key.Hand(cmd)
		if err != nil {
			return err
		}
		defer started()
		cmd.Args = append(cmd.Args, more...)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("disk %s: qemu-nbd: %w", p.disk.Target, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if err := awaitSocket(ctx, socket, ended); err != nil {
		cmd.Process.Kill()
		return fmt.Errorf("disk %s: qemu-nbd: %w: %s", p.disk.Target, err, strings.TrimSpace(stderr.String()))
	}
	t.closers = append(t.closers, func() error {
		cmd.Process.Kill() // it only reads
		return nil
	})
	return t.openBound(ctx, p, socket)
}

// openBound opens an export whose socket is there: it may be bound and not
// listening yet, and a refused try is no client.
func (t *taken) openBound(ctx context.Context, p planned, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, serveTimeout)
	defer cancel()
	for {
		err := t.open(p, socket, p.disk.Target, t.lastName())
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (t *taken) lastName() string {
	if t.r.Last == nil {
		return ""
	}
	return t.r.Last.Name
}

// awaitSocket waits until a server has bound its socket. A try would be a
// client, and qemu-nbd would end with it: so it only looks.
func awaitSocket(ctx context.Context, socket string, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, serveTimeout)
	defer cancel()
	for !exists(socket) {
		select {
		case err := <-ended:
			return fmt.Errorf("it ended: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// Check says whether everything that was read is of the one moment. It must be
// asked after the last byte was read and before the point is committed.
// ErrStarted, ErrScratchFull, ErrEnded.
func (s *Snapshot) Check(ctx context.Context) error {
	t := s.take
	if err := context.Cause(t.life); err != nil {
		return err
	}
	if t.began {
		job, err := t.r.Host.BackupJob(ctx, t.r.UUID)
		if err != nil {
			return err
		}
		if job == nil || job.Socket != t.dir.socket {
			return ErrEnded
		}
		return nil
	}
	for path, before := range t.stamps {
		if now, err := stampOf(path); err != nil || now != before {
			return fmt.Errorf("%w: %s was written to (%v)", ErrStarted, path, err)
		}
	}
	d, err := t.r.Host.Domain(ctx, t.r.UUID)
	if err != nil && !errors.Is(err, hypervisor.ErrNoDomain) {
		return err
	}
	if d.State.Active() {
		return ErrStarted
	}
	return nil
}
