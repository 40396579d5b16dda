package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"holdfast"
	"holdfast/internal/disk"
	"holdfast/internal/nbd"
)

// maxSocket is the longest path of a UNIX socket, bytes (unix(7), sun_path).
const maxSocket = 107

// serverMemory bounds the requests of a VM to its point that are under way, bytes.
const serverMemory = 64 << 20

// socket is where the disks of the point are served to the VM that runs on them.
func (r *run) socket() string {
	id := strings.ReplaceAll(r.args.RestoreID, "-", "")
	return filepath.Join(r.args.Site.ScratchDir, "restore-"+id[:min(12, len(id))]+".sock")
}

// serve offers the disks of the point, read-only, to whom the VM's overlays
// belong: libvirt gives them to the user that QEMU runs as. It ends with stop or
// ctx.
func (r *run) serve(ctx context.Context) (stop func(), err error) {
	path := r.socket()
	if len(path) > maxSocket {
		return nil, holdfast.Errorf(holdfast.Unsupported, "site", "The path of the socket %s has %d bytes; %d are the most.", path, len(path), maxSocket).
			WithHint("Give the site a scratch directory with a shorter path, or restore without instant.")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // of a dead run
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var exports []nbd.Export
	for _, d := range r.manifest.Disks {
		source, err := r.openDisk(ctx, d.Fact.Target)
		if err != nil {
			cancel()
			return nil, err
		}
		exports = append(exports, nbd.Export{Name: d.Fact.Target, Source: &watched{Source: source, run: r}})
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		cancel()
		return nil, err
	}
	if err := os.Chmod(path, 0o666); err != nil { //nolint:gosec // who connects is judged by who it is (owned)
		cancel()
		return nil, errors.Join(err, l.Close())
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := nbd.Serve(ctx, &owned{Listener: l, run: r}, nbd.ServerOptions{Memory: serverMemory}, exports...); err != nil {
			r.progress.Warn(fmt.Sprintf("The disks are not served to the VM any more: %v.", err))
		}
	}()
	return func() { cancel(); <-ended }, nil
}

// owned lets in root, this process's user, and whoever owns an overlay of the
// restore.
type owned struct {
	net.Listener
	run *run
}

// Accept waits for the next that may come in.
func (l *owned) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.mayRead(c) {
			return c, nil
		}
		_ = c.Close()
	}
}

func (l *owned) mayRead(c net.Conn) bool {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return false
	}
	rawConn, err := u.SyscallConn()
	if err != nil {
		return false
	}
	var peer *unix.Ucred
	var perr error
	err = rawConn.Control(func(fd uintptr) { peer, perr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err != nil || perr != nil {
		return false
	}
	if peer.Uid == 0 || int(peer.Uid) == os.Getuid() {
		return true
	}
	for _, d := range l.run.manifest.Disks {
		info, err := os.Stat(l.run.overlay(d.Fact.Target))
		if err != nil {
			continue
		}
		if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Uid == peer.Uid {
			return true
		}
	}
	return false
}

// watched tells the job's user, once for each kind of failure, why a VM that runs
// on the point cannot read it.
type watched struct {
	disk.Source
	run *run

	mu   sync.Mutex
	told map[string]bool
}

// ReadAt reads.
func (w *watched) ReadAt(p []byte, off int64) (int, error) {
	n, err := w.Source.ReadAt(p, off)
	if err != nil && err != io.EOF && !errors.Is(err, context.Canceled) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.told[err.Error()] && len(w.told) < 10 {
			if w.told == nil {
				w.told = map[string]bool{}
			}
			w.told[err.Error()] = true
			w.run.progress.Warn(fmt.Sprintf("The VM waits for what cannot be read: %v.", err))
		}
	}
	return n, err
}
