package libvirt

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	rpc "github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"

	"holdfast/internal/hypervisor"
)

// lookup finds a domain by its UUID's text form.
func lookup(l *rpc.Libvirt, id string) (rpc.Domain, error) {
	u, err := uuid.Parse(id)
	if err != nil {
		return rpc.Domain{}, fmt.Errorf("%w: %q is not a UUID", hypervisor.ErrNoDomain, id)
	}
	return l.DomainLookupByUUID(rpc.UUID(u))
}

// onDomain runs f on a domain found by its UUID.
func onDomain(ctx context.Context, h *Host, id string, f func(*rpc.Libvirt, rpc.Domain) error) error {
	return do(ctx, h, func(l *rpc.Libvirt) error {
		d, err := lookup(l, id)
		if err != nil {
			return err
		}
		return f(l, d)
	})
}

// Domains lists all domains with their facts, ordered by name.
func (h *Host) Domains(ctx context.Context) ([]hypervisor.Domain, error) {
	return call(ctx, h, func(l *rpc.Libvirt) ([]hypervisor.Domain, error) {
		pools, err := pools(l)
		if err != nil {
			return nil, err
		}
		found, _, err := l.ConnectListAllDomains(1, rpc.ConnectListDomainsActive|rpc.ConnectListDomainsInactive)
		if err != nil {
			return nil, err
		}
		var all []hypervisor.Domain
		for _, d := range found {
			facts, err := domainFacts(l, d, pools)
			if errors.Is(classify(err), hypervisor.ErrNoDomain) {
				continue // it went away meanwhile
			}
			if err != nil {
				return nil, err
			}
			all = append(all, facts)
		}
		slices.SortFunc(all, func(a, b hypervisor.Domain) int { return cmp.Compare(a.Name, b.Name) })
		return all, nil
	})
}

// Domain gives one domain's facts.
func (h *Host) Domain(ctx context.Context, id string) (hypervisor.Domain, error) {
	return h.domain(ctx, func(l *rpc.Libvirt) (rpc.Domain, error) { return lookup(l, id) })
}

// DomainNamed gives the facts of the domain with that name.
func (h *Host) DomainNamed(ctx context.Context, name string) (hypervisor.Domain, error) {
	return h.domain(ctx, func(l *rpc.Libvirt) (rpc.Domain, error) { return l.DomainLookupByName(name) })
}

func (h *Host) domain(ctx context.Context, find func(*rpc.Libvirt) (rpc.Domain, error)) (hypervisor.Domain, error) {
	return call(ctx, h, func(l *rpc.Libvirt) (hypervisor.Domain, error) {
		d, err := find(l)
		if err != nil {
			return hypervisor.Domain{}, err
		}
		pools, err := pools(l)
		if err != nil {
			return hypervisor.Domain{}, err
		}
		return domainFacts(l, d, pools)
	})
}

// DomainXML gives the persistent definition with its secrets; of a transient
// domain, which has none, the running one in the form of a definition.
func (h *Host) DomainXML(ctx context.Context, id string) (string, error) {
	return call(ctx, h, func(l *rpc.Libvirt) (string, error) {
		d, err := lookup(l, id)
		if err != nil {
			return "", err
		}
		return l.DomainGetXMLDesc(d, rpc.DomainXMLInactive|rpc.DomainXMLSecure)
	})
}

// Define makes a domain of XML. libvirt would replace a domain of the same name
// and UUID; this refuses with ErrExists.
func (h *Host) Define(ctx context.Context, xml string) (string, error) {
	return call(ctx, h, func(l *rpc.Libvirt) (string, error) {
		name, id, err := identity(xml)
		if err != nil {
			return "", fmt.Errorf("%w: domain XML: %w", hypervisor.ErrInvalid, err)
		}
		if _, err := l.DomainLookupByName(name); err == nil {
			return "", fmt.Errorf("%w: a virtual machine named %q", hypervisor.ErrExists, name)
		}
		if id != "" {
			if d, err := lookup(l, id); err == nil {
				return "", fmt.Errorf("%w: UUID %s belongs to the virtual machine %q", hypervisor.ErrExists, id, d.Name)
			}
		}
		d, err := l.DomainDefineXMLFlags(xml, 0)
		if err != nil {
			return "", badXML(err)
		}
		return uuid.UUID(d.UUID).String(), nil
	})
}

// Redefine replaces a domain's persistent definition. libvirt writes the new one
// beside the old and renames it (virDomainDefSave).
func (h *Host) Redefine(ctx context.Context, id, xml string) error {
	return onDomain(ctx, h, id, func(l *rpc.Libvirt, d rpc.Domain) error {
		name, own, err := identity(xml)
		if err != nil {
			return fmt.Errorf("%w: domain XML: %w", hypervisor.ErrInvalid, err)
		}
		if name != d.Name || !strings.EqualFold(own, id) {
			return fmt.Errorf("%w: domain XML of %q (%s) for %q (%s)", hypervisor.ErrInvalid, name, own, d.Name, id)
		}
		_, err = l.DomainDefineXMLFlags(xml, 0)
		return badXML(err)
	})
}

// badXML is err as ErrInvalid where it is what libvirt says of much bad XML.
func badXML(err error) error {
	var e rpc.Error
	if errors.As(err, &e) && rpc.ErrorNumber(e.Code) == rpc.ErrInternalError {
		return fmt.Errorf("%w: %w", hypervisor.ErrInvalid, err)
	}
	return err
}

// Undefine forgets a domain that is shut off; its disks stay.
func (h *Host) Undefine(ctx context.Context, id string) error {
	return onDomain(ctx, h, id, func(l *rpc.Libvirt, d rpc.Domain) error {
		return l.DomainUndefineFlags(d, rpc.DomainUndefineManagedSave|rpc.DomainUndefineSnapshotsMetadata|
			rpc.DomainUndefineCheckpointsMetadata|rpc.DomainUndefineNvram)
	})
}

// Start boots a domain; already running is no error.
func (h *Host) Start(ctx context.Context, id string) error { return h.start(ctx, id, rpc.DomainNone) }

// StartPaused gives a domain power, and boots nothing before Resume.
func (h *Host) StartPaused(ctx context.Context, id string) error {
	return h.start(ctx, id, rpc.DomainStartPaused)
}

func (h *Host) start(ctx context.Context, id string, how rpc.DomainCreateFlags) error {
	return onDomain(ctx, h, id, func(l *rpc.Libvirt, d rpc.Domain) error {
		state, _, err := state(l, d)
		if err != nil || state.Active() {
			return err
		}
		_, err = l.DomainCreateWithFlags(d, uint32(how))
		return err
	})
}

// Destroy takes a domain's power away; already off is no error.
func (h *Host) Destroy(ctx context.Context, id string) error {
	return onDomain(ctx, h, id, func(l *rpc.Libvirt, d rpc.Domain) error {
		err := l.DomainDestroyFlags(d, 0)
		if errors.Is(classify(err), hypervisor.ErrNotRunning) {
			return nil
		}
		return err
	})
}

// Suspend stops a domain's processors; already paused is no error.
func (h *Host) Suspend(ctx context.Context, id string) error {
	return onDomain(ctx, h, id, func(l *rpc.Libvirt, d rpc.Domain) error {
		s, _, err := state(l, d)
		if err != nil || s == hypervisor.Paused {
			return err
		}
		return l.DomainSuspend(d)
	})
}

// Resume lets a paused domain run; already running is no error.
func (h *Host) Resume(ctx context.Context, id string) error {
	return onDomain(ctx, h, id, func(l *rpc.Libvirt, d rpc.Domain) error {
		s, _, err := state(l, d)
		if err != nil || s == hypervisor.Running {
			return err
		}
		return l.DomainResume(d)
	})
}

// Shutdown asks the guest to power itself off, through its agent or by the ACPI
// button; already off is no error.
func (h *Host) Shutdown(ctx context.Context, id string) error {
	return onDomain(ctx, h, id, func(l *rpc.Libvirt, d rpc.Domain) error {
		err := l.DomainShutdownFlags(d, 0)
		if errors.Is(classify(err), hypervisor.ErrNotRunning) {
			return nil
		}
		return err
	})
}

// SetMetadata puts an element into <metadata>.
func (h *Host) SetMetadata(ctx context.Context, id, space, prefix, element string) error {
	return onDomain(ctx, h, id, func(l *rpc.Libvirt, d rpc.Domain) error {
		impact, err := impact(l, d)
		if err != nil {
			return err
		}
		xml := rpc.OptString{}
		if element != "" {
			xml = rpc.OptString{element}
		}
		return l.DomainSetMetadata(d, int32(rpc.DomainMetadataElement), xml, rpc.OptString{prefix}, rpc.OptString{space}, impact)
	})
}

// maxScreen bounds a screenshot, bytes: 4K in the three bytes a pixel of a PPM.
const maxScreen = 3840*2160*3 + 1<<10

// Screenshot takes a picture of the first screen (virDomainScreenshot). go-libvirt
// looks for the MIME type, which came before the picture, behind it, and fails; an
// error of libvirt itself comes without a picture.
func (h *Host) Screenshot(ctx context.Context, id string) (image []byte, err error) {
	err = onDomain(ctx, h, id, func(l *rpc.Libvirt, d rpc.Domain) error {
		w := &limited{left: maxScreen}
		_, err := l.DomainScreenshot(d, w, 0, 0)
		image = w.Bytes()
		if refused := new(rpc.Error); errors.As(err, refused) || w.left < 0 || len(image) == 0 {
			return err
		}
		return nil
	})
	return image, err
}

// limited takes no more than so many bytes.
type limited struct {
	bytes.Buffer
	left int
}

func (w *limited) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, fmt.Errorf("the screenshot has more than %d bytes", maxScreen)
	}
	return w.Buffer.Write(p)
}

// impact is what a change touches that holds now and for the next start
// (virDomainModificationImpact): as much of both as the domain has.
func impact(l *rpc.Libvirt, d rpc.Domain) (rpc.DomainModificationImpact, error) {
	state, _, err := state(l, d)
	if err != nil {
		return 0, err
	}
	persistent, err := l.DomainIsPersistent(d)
	var i rpc.DomainModificationImpact
	if state.Active() {
		i |= rpc.DomainAffectLive
	}
	if persistent == 1 {
		i |= rpc.DomainAffectConfig
	}
	return i, err
}

// state maps libvirt's states (virDomainState) and names the reasons of a pause
// that matter (virDomainPausedReason).
func state(l *rpc.Libvirt, d rpc.Domain) (hypervisor.State, string, error) {
	s, reason, err := l.DomainGetState(d, 0)
	if err != nil {
		return "", "", err
	}
	switch rpc.DomainState(s) {
	case rpc.DomainRunning, rpc.DomainBlocked, rpc.DomainShutdown:
		return hypervisor.Running, "", nil
	case rpc.DomainPaused, rpc.DomainPmsuspended:
		switch rpc.DomainPausedReason(reason) {
		case rpc.DomainPausedIoerror:
			return hypervisor.Paused, hypervisor.PausedIOError, nil
		case rpc.DomainPausedUser:
			return hypervisor.Paused, hypervisor.PausedUser, nil
		}
		return hypervisor.Paused, "", nil
	case rpc.DomainCrashed:
		return hypervisor.Crashed, "", nil
	}
	return hypervisor.ShutOff, "", nil
}
