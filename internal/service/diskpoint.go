package service

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"math"
	"slices"
	"strings"
	"time"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/resource"
)

// Contents opens what points hold.
type Contents interface {
	// OpenDisk opens a disk of a point by its libvirt target, or answers
	// holdfast.NotFound. ctx bounds every later read.
	OpenDisk(ctx context.Context, repository holdfast.RepositoryRef, point, target string) (holdfast.Content, error)
}

// DiskPoint is one disk in a restore point.
type DiskPoint struct {
	ID    string // ARM id
	Name  string
	Point RestorePoint
	Disk  holdfast.DiskFact // as it was; the source's
}

// diskPointName is the name of a disk in a restore point: that of the disk and
// the point's in the repository, so that it is not that of another point's.
func diskPointName(p RestorePoint, k holdfast.DiskFact) string {
	return holdfast.DiskName(k.Pool, k.Path) + "_" + p.Result.PointID
}

// Disks are the disks in the point; of one that is being made those that are to
// be in it.
func (p RestorePoint) Disks() []DiskPoint {
	var all []DiskPoint
	for _, k := range p.Result.VM.Disks {
		if p.has(k) {
			name := diskPointName(p, k)
			all = append(all, DiskPoint{ID: p.ID + "/diskRestorePoints/" + name, Name: name, Point: p, Disk: k})
		}
	}
	return all
}

// has says whether a disk of the VM is in the point.
func (p RestorePoint) has(k holdfast.DiskFact) bool {
	if p.made() {
		return slices.ContainsFunc(p.Result.Disks, func(d holdfast.DiskResult) bool { return d.Target == k.Target })
	}
	vm := resource.IDOf(p.VM)
	id := resource.InGroup(vm.Subscription, vm.Group, resource.TypeDisk, holdfast.DiskName(k.Pool, k.Path))
	return !k.Temporary && !k.NVMe && !slices.ContainsFunc(p.Exclude, func(o string) bool { return strings.EqualFold(o, id) })
}

// SourceDisk is the ARM id of the disk that a disk restore point is of.
func (d DiskPoint) SourceDisk() string {
	vm := resource.IDOf(d.Point.VM)
	return resource.InGroup(vm.Subscription, vm.Group, resource.TypeDisk, holdfast.DiskName(d.Disk.Pool, d.Disk.Path))
}

// DiskPoints lists the disks in a restore point.
func (s *Service) DiskPoints(ctx context.Context, point string) ([]DiskPoint, error) {
	p, err := s.RestorePointAt(ctx, point)
	return p.Disks(), err
}

// DiskPoint returns one disk in a restore point.
func (s *Service) DiskPoint(ctx context.Context, id string) (DiskPoint, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (DiskPoint, error) { return findDiskPoint(tx, id) })
}

func findDiskPoint(tx *catalog.Tx, id string) (DiskPoint, error) {
	point, name := resource.Above(resource.Above(id)), resource.LastName(id)
	p, err := findRestorePoint(tx, point)
	if err != nil {
		return DiskPoint{}, err
	}
	all := p.Disks()
	i := slices.IndexFunc(all, func(d DiskPoint) bool { return resource.SameName(d.Name, name) })
	if i < 0 {
		return DiskPoint{}, holdfast.Errorf(holdfast.NotFound, id, "The disk restore point %q was not found.", name)
	}
	return all[i], nil
}

// ready refuses to read a point that is not whole.
func (p RestorePoint) ready() error {
	if p.State == PointSucceeded {
		return nil
	}
	if p.Lost {
		return holdfast.Errorf(holdfast.Damaged, p.ID, "The restore point %q cannot be read: %s", p.Name, p.Failure.Message).WithHint(p.Failure.Hint)
	}
	return holdfast.Errorf(holdfast.Conflict, p.ID, "The restore point %q is %s; only one that Succeeded can be read.", p.Name, p.State)
}

// Access lets whoever has its secret read one disk of a restore point, until it
// expires or is ended. The secret itself is not kept.
type Access struct {
	Disk    string    `json:"disk"` // ARM id of the disk restore point
	Hash    string    `json:"hash"` // SHA-256 of the secret, hex
	Expires time.Time `json:"expires"`
	VHD     bool      `json:"vhd,omitempty"` // with the footer of a fixed VHD
}

const (
	typeAccess = "Holdfast.Compute/accesses"
	// maxAccess is the longest that a disk can be read on one access, as in Azure.
	maxAccess = math.MaxUint32
)

func accessID(name string) string { return "/accesses/" + name }

// AccessInput is what a client asks of an access.
type AccessInput struct {
	Level   string // Read
	Seconds int64
	Format  string // "" is the plain disk, VHD a fixed VHD
}

// check refuses what cannot be given.
func (in AccessInput) check() error {
	switch {
	case !strings.EqualFold(in.Level, "Read"):
		return holdfast.Errorf(holdfast.Invalid, "access", "access is %q; a disk restore point can be read (Read) and not changed.", in.Level)
	case in.Seconds < 1 || in.Seconds > maxAccess:
		return holdfast.Errorf(holdfast.Invalid, "durationInSeconds", "durationInSeconds is %d; it is 1 to %d.", in.Seconds, int64(maxAccess))
	case in.Format != "" && !strings.EqualFold(in.Format, "VHD"):
		return holdfast.Errorf(holdfast.Unsupported, "fileFormat", "fileFormat is %q; a disk is read as it is, or as VHD.", in.Format)
	}
	return nil
}

// GrantAccess lets a disk of a restore point be read for a while. It gives the
// access's name and its secret, which nobody can ask for again.
func (s *Service) GrantAccess(ctx context.Context, disk string, in AccessInput) (name, secret string, a Access, err error) {
	if err := in.check(); err != nil {
		return "", "", a, err
	}
	if s.Contents == nil {
		return "", "", a, holdfast.Errorf(holdfast.Unsupported, disk, "This server reads no restore points.")
	}
	name, secret = strings.ToLower(rand.Text()), rand.Text()
	a, err = resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (Access, error) {
		d, err := findDiskPoint(tx, disk)
		if err != nil {
			return a, err
		}
		if err := d.Point.ready(); err != nil {
			return a, err
		}
		if err := forgetAccesses(tx, d.ID, func(old Access) bool { return !old.Expires.After(tx.Now()) }); err != nil {
			return a, err
		}
		a := Access{Disk: d.ID, Hash: hashOf(secret), Expires: tx.Now().Add(time.Duration(in.Seconds) * time.Second).UTC().Truncate(time.Second), VHD: in.Format != ""}
		_, err = catalog.Write(tx, catalog.Resource{ID: accessID(name), Type: typeAccess, Parent: d.ID}, a)
		return a, err
	})
	return name, secret, a, err
}

// EndAccess ends every access to a disk of a restore point at once.
func (s *Service) EndAccess(ctx context.Context, disk string) error {
	_, err := resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (any, error) {
		d, err := findDiskPoint(tx, disk)
		if err != nil {
			return nil, err
		}
		return nil, forgetAccesses(tx, d.ID, func(Access) bool { return true })
	})
	return err
}

// forgetAccesses drops the accesses to a disk, or with "" to any, that a
// condition picks.
func forgetAccesses(tx *catalog.Tx, disk string, pick func(Access) bool) error {
	rows, err := tx.List(catalog.Query{Type: typeAccess, Parent: disk})
	if err != nil {
		return err
	}
	for _, r := range rows {
		a, err := catalog.Decode[Access](r)
		if err != nil {
			return err
		}
		if !pick(a) {
			continue
		}
		if _, err := tx.Delete(r.ID); err != nil {
			return err
		}
	}
	return nil
}

func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// ErrNoAccess is what is said to whoever may not read, whatever the reason is.
var ErrNoAccess = holdfast.Errorf(holdfast.Forbidden, "", "The access is not valid: its signature is wrong, what it says was changed, it has expired or was ended.")

// OpenAccess opens the disk that an access lets its holder read. ctx bounds every
// later read.
func (s *Service) OpenAccess(ctx context.Context, name, secret string) (Access, DiskPoint, holdfast.Content, error) {
	var a Access
	var ref holdfast.RepositoryRef
	d, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (d DiskPoint, err error) {
		a, _, err = catalog.Read[Access](tx, accessID(name))
		if err != nil && holdfast.KindOf(err) == holdfast.NotFound {
			return d, ErrNoAccess
		}
		if err != nil {
			return d, err
		}
		if subtle.ConstantTimeCompare([]byte(a.Hash), []byte(hashOf(secret))) != 1 || !a.Expires.After(tx.Now()) {
			return d, ErrNoAccess
		}
		if d, err = findDiskPoint(tx, a.Disk); err != nil {
			return d, err
		}
		site, err := siteAt(tx, resource.IDOf(d.ID).Subscription, "location", d.Point.Location)
		ref = s.at(site, d.Point)
		return d, err
	})
	if err != nil {
		return a, d, nil, err
	}
	if err := d.Point.ready(); err != nil {
		return a, d, nil, err
	}
	c, err := s.Contents.OpenDisk(ctx, ref, d.Point.Result.PointID, d.Disk.Target)
	return a, d, c, err
}
