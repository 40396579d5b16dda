package libvirt

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	rpc "github.com/digitalocean/go-libvirt"

	"holdfast/internal/hypervisor"
)

// kinds maps libvirt's error numbers (virErrorNumber in libvirt/virterror.h)
// to the contract's errors.
var kinds = map[rpc.ErrorNumber]error{
	rpc.ErrNoDomain:            hypervisor.ErrNoDomain,
	rpc.ErrNoStoragePool:       hypervisor.ErrNoPool,
	rpc.ErrNoStorageVol:        hypervisor.ErrNoVolume,
	rpc.ErrStorageVolExist:     hypervisor.ErrExists,
	rpc.ErrNoNetwork:           hypervisor.ErrNoNetwork,
	rpc.ErrNoSecret:            hypervisor.ErrNoSecret,
	rpc.ErrInvalidSecret:       hypervisor.ErrPrivateSecret, // "secret is private"
	rpc.ErrNoDomainCheckpoint:  hypervisor.ErrNoCheckpoint,
	rpc.ErrDomExist:            hypervisor.ErrExists,
	rpc.ErrAgentUnresponsive:   hypervisor.ErrNoAgent,
	rpc.ErrAgentUnsynced:       hypervisor.ErrNoAgent,
	rpc.ErrAgentCommandTimeout: hypervisor.ErrNoAgent,
	rpc.ErrAgentCommandFailed:  hypervisor.ErrAgentFailed,
	rpc.ErrBlockCopyActive:     hypervisor.ErrBusy,
	rpc.ErrOperationTimeout:    hypervisor.ErrBusy, // "cannot acquire state change lock"
	rpc.ErrXMLError:            hypervisor.ErrInvalid,
	rpc.ErrXMLDetail:           hypervisor.ErrInvalid,
	rpc.ErrXMLInvalidSchema:    hypervisor.ErrInvalid,
	rpc.ErrConfigUnsupported:   hypervisor.ErrInvalid,
	rpc.ErrInvalidArg:          hypervisor.ErrInvalid,
}

// classify wraps a libvirt error with the contract's error that it means.
func classify(err error) error {
	var e rpc.Error
	if err == nil || !errors.As(err, &e) {
		return err
	}
	number := rpc.ErrorNumber(e.Code)
	if number == rpc.ErrCheckpointInconsistent {
		return bitmapError(err, e.Message)
	}
	kind := kinds[number]
	switch m := strings.ToLower(e.Message); {
	case number == rpc.ErrOperationInvalid && strings.Contains(m, "not running"),
		number == rpc.ErrOperationUnsupported && strings.Contains(m, "inactive domain"):
		kind = hypervisor.ErrNotRunning
	case number == rpc.ErrOperationFailed && strings.Contains(m, "already exists"),
		number == rpc.ErrOperationFailed && strings.Contains(m, "already defined"):
		kind = hypervisor.ErrExists
	case strings.Contains(m, "no more available pci slots"):
		kind = hypervisor.ErrNoSlot
	}
	if kind == nil {
		return fmt.Errorf("libvirt: %w", err)
	}
	return fmt.Errorf("%w: libvirt: %w", kind, err)
}

var (
	diskInMessage   = regexp.MustCompile(`disk '([^']+)'`)
	bitmapInMessage = regexp.MustCompile(`bitmap '([^']+)'`)
)

// bitmapError reads which checkpoint and disk an inconsistency is about.
// libvirt says "missing or broken bitmap 'NAME' for disk 'TARGET'".
func bitmapError(err error, message string) error {
	b := &hypervisor.BitmapError{Cause: fmt.Errorf("libvirt: %w", err)}
	if m := diskInMessage.FindStringSubmatch(message); m != nil {
		b.Target = m[1]
	}
	if m := bitmapInMessage.FindStringSubmatch(message); m != nil {
		b.Checkpoint = m[1]
	}
	return b
}
