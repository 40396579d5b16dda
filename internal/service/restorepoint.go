package service

import (
	"context"
	"crypto/rand"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/resource"
	"holdfast/internal/support"
)

// The job kinds of restore points.
const (
	kindRestorePoint       = "restorepoint"
	kindDeleteRestorePoint = "deleterestorepoint"
)

// PointState is how far a restore point is.
type PointState string

// The states.
const (
	PointCreating  PointState = "Creating"
	PointSucceeded PointState = "Succeeded"
	PointFailed    PointState = "Failed" // its making, or its deletion
	PointDeleting  PointState = "Deleting"
)

// RestorePoint is one restore point of a VM. Created is when it was asked for.
type RestorePoint struct {
	resource.Stamp
	Collection string               `json:"collection"` // ARM id
	Name       string               `json:"name"`
	Location   string               `json:"location"` // of the site that has it
	State      PointState           `json:"state"`
	Want       holdfast.Consistency `json:"want"`
	VM         string               `json:"vm"`                // ARM id
	Exclude    []string             `json:"exclude,omitempty"` // ARM ids of the disks left out
	// Source is the ARM id of the restore point that this one is a copy of.
	Source         string `json:"source,omitempty"`
	SourceLocation string `json:"sourceLocation,omitempty"`
	// Set is the ARM id of the disk encryption set for which the point is sealed, and
	// Repository where it is then; zero is the operational repository of its site.
	Set        string                 `json:"set,omitempty"`
	Repository holdfast.RepositoryRef `json:"repository,omitzero"`
	JobID      string                 `json:"jobId"` // that makes it
	// Result has, until the point is made, its PointID and what the VM was when it
	// was asked for.
	Result  holdfast.RestorePointResult `json:"result"`
	Failure *job.Failure                `json:"failure,omitempty"`
	// Lost says that the point, which was made, cannot be read: Failed, until it can
	// be read again.
	Lost bool `json:"lost,omitempty"`
}

// made says whether the point was ever there.
func (p RestorePoint) made() bool { return !p.Result.Time.IsZero() }

// listed says that the point is to be readable.
func (p RestorePoint) listed() bool { return p.State == PointSucceeded || p.Lost }

// RestorePointID is the ARM id of a restore point.
func RestorePointID(collection, name string) string { return collection + "/restorePoints/" + name }

// newPointID is 19 decimal digits that sort by time: milliseconds and chance.
// It names the point in the API and in the repository.
func newPointID(now time.Time) string {
	n, err := rand.Int(rand.Reader, big.NewInt(1_000_000))
	if err != nil {
		panic("internal error: " + err.Error()) // crypto/rand does not fail
	}
	return fmt.Sprintf("%013d%06d", now.UnixMilli(), n)
}

// machine is what the restore points of a VM are listed under: they are counted
// over all collections.
func machine(uuid string) string { return "/machines/" + uuid }

// creation is creationOf the collection's VM; copies of its points are made one
// at a time at each site.
func (c Collection) creation() string {
	if c.copies() {
		return "copypoint:" + c.Location + ":" + c.VM
	}
	return creationOf(c.VM)
}

// RestorePointInput is what a client asks of a new restore point.
type RestorePointInput struct {
	Version string               // api-version
	Want    holdfast.Consistency // "" is application consistent
	Exclude []string             // ARM ids of disks
	Source  string               // ARM id of the restore point to copy; "" makes a new one
}

// CreateRestorePoint starts the job that makes a restore point, or a copy of one.
// Everything that can be seen to fail is refused here.
func (s *Service) CreateRestorePoint(ctx context.Context, collection, name string, in RestorePointInput) (RestorePoint, job.Job, error) {
	c, err := s.Collection(ctx, collection)
	if err != nil {
		return RestorePoint{}, job.Job{}, err
	}
	if err := s.checkPoint(c, name, &in); err != nil {
		return RestorePoint{}, job.Job{}, err
	}
	p := RestorePoint{Stamp: resource.Stamp{ID: RestorePointID(c.ID, name)}, Collection: c.ID, Name: name, Location: c.Location, State: PointCreating, Want: in.Want, VM: c.VM}
	if c.copies() {
		return s.copyPoint(ctx, c, p, in)
	}
	return s.capturePoint(ctx, c, p, in)
}

// checkPoint refuses what is wrong whatever the VM is.
func (s *Service) checkPoint(c Collection, name string, in *RestorePointInput) error {
	if s.RestorePoint == nil {
		return holdfast.Errorf(holdfast.Unsupported, name, "This server makes no restore points.")
	}
	if err := resource.CheckName("restore point", name); err != nil {
		return err
	}
	const member = "properties.sourceRestorePoint.id"
	switch {
	case c.copies() && in.Source == "":
		return holdfast.Errorf(holdfast.Invalid, member, "The collection %q has copies of the points of %s; %s is missing.", c.Name, c.Source, member)
	case c.copies() && (in.Want != "" || len(in.Exclude) > 0):
		return holdfast.Errorf(holdfast.Invalid, "properties", "A copy has the consistency and the disks of its source; properties.consistencyMode and properties.excludeDisks do not go with %s.", member)
	case !c.copies() && in.Source != "":
		return holdfast.Errorf(holdfast.Invalid, member, "The collection %q has points of %s and no copies.", c.Name, c.Source).
			WithHint("Make a collection in another location whose properties.source.id is the collection of the point.")
	}
	if in.Want == "" {
		in.Want = holdfast.ApplicationConsistent
	}
	i := slices.IndexFunc(modes, func(m holdfast.Consistency) bool { return strings.EqualFold(string(m), string(in.Want)) })
	if i < 0 {
		return holdfast.Errorf(holdfast.Invalid, "properties.consistencyMode", "properties.consistencyMode is %q; it is ApplicationConsistent, FileSystemConsistent or CrashConsistent.", in.Want)
	}
	in.Want = modes[i]
	return support.PointVersion(in.Version, in.Want)
}

// modes are Azure's words for how consistent a point is to be.
var modes = []holdfast.Consistency{holdfast.ApplicationConsistent, holdfast.FileSystemConsistent, holdfast.CrashConsistent}

// capturePoint starts a new point of the collection's VM.
func (s *Service) capturePoint(ctx context.Context, c Collection, p RestorePoint, in RestorePointInput) (RestorePoint, job.Job, error) {
	src := resource.IDOf(c.VM)
	vm, err := s.VM(ctx, src.Subscription, src.Group, src.Name())
	if err != nil {
		return p, job.Job{}, err
	}
	if vm.UUID != c.UUID {
		return p, job.Job{}, holdfast.Errorf(holdfast.Conflict, vm.Name, "The VM %q is another machine now (UUID %s); the collection %q is of that with UUID %s.", vm.Name, vm.UUID, c.Name, c.UUID).
			WithHint("Make a collection for the new machine.")
	}
	facts := support.VM{VMFact: vm.VMFact, Classes: vm.site.PoolClasses, Accelerator: vm.site.WriteAccelerator}
	if facts.Exclude, p.Exclude, err = excludedDisks(vm, in.Exclude); err != nil {
		return p, job.Job{}, err
	}
	if in.Want != holdfast.CrashConsistent { // of which no system is asked (RPO-03)
		if facts.Guest, err = s.Inventory.Guest(ctx, vm.site.Ref(), vm.Name); err != nil {
			return p, job.Job{}, err
		}
	}
	if err := support.RefusedPoint(facts, in.Want); err != nil {
		return p, job.Job{}, err
	}
	p.Result.VM = vm.VMFact
	if p.Repository, p.Set, err = s.sealedAt(ctx, vm); err != nil {
		return p, job.Job{}, err
	}
	args := holdfast.RestorePointArgs{Site: vm.site.Ref(), VM: vm.VMRef, Want: in.Want, ExcludeLUNs: facts.Exclude, ReadRate: vm.site.ReadRate}
	out, j, err := s.enqueuePoint(ctx, c, p, args, func(tx *catalog.Tx) error { return notSnapshot(tx, vm) })
	return out, j, err
}

// sealedAt is where a new point of a machine is sealed for a disk encryption set, and
// for which; zero for none.
func (s *Service) sealedAt(ctx context.Context, vm VM) (ref holdfast.RepositoryRef, set string, err error) {
	_, err = resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (any, error) {
		ref, set, err = s.operationalFor(tx, vm)
		return nil, err
	})
	if set == "" {
		ref = holdfast.RepositoryRef{}
	}
	return ref, set, err
}

// excludedDisks finds the disks that are to be left out, and refuses a point of
// nothing. NVMe devices of the host are left out unasked (RPT-11).
func excludedDisks(vm VM, ids []string) (luns []int, canonical []string, err error) {
	for n, id := range ids {
		member := fmt.Sprintf("properties.excludeDisks[%d].id", n)
		i := slices.IndexFunc(vm.Disks, func(k holdfast.DiskFact) bool { return strings.EqualFold(DiskID(vm.site, k.Pool, k.Path), id) })
		if i < 0 {
			return nil, nil, holdfast.Errorf(holdfast.Invalid, member, "%s is %q, which is no disk of the virtual machine %q.", member, id, vm.Name)
		}
		k := vm.Disks[i]
		luns, canonical = append(luns, k.LUN), append(canonical, DiskID(vm.site, k.Pool, k.Path))
	}
	left := 0
	for _, k := range vm.Disks {
		if k.NVMe && !slices.Contains(luns, k.LUN) {
			luns = append(luns, k.LUN)
		}
		if !k.Temporary && !slices.Contains(luns, k.LUN) {
			left++
		}
	}
	if left == 0 {
		return nil, nil, holdfast.Errorf(holdfast.Invalid, "properties.excludeDisks", "Of the virtual machine %q no disk is left for the point.", vm.Name)
	}
	return luns, canonical, nil
}

// copyPoint starts a copy of a point of the collection's source.
func (s *Service) copyPoint(ctx context.Context, c Collection, p RestorePoint, in RestorePointInput) (RestorePoint, job.Job, error) {
	const member = "properties.sourceRestorePoint.id"
	id, err := resource.ParseAs(member, in.Source, resource.TypeRestorePoint)
	if err != nil {
		return p, job.Job{}, err
	}
	from, err := s.RestorePointAt(ctx, id.String())
	if err != nil {
		return p, job.Job{}, err
	}
	switch {
	case !strings.EqualFold(from.Collection, c.Source):
		return p, job.Job{}, holdfast.Errorf(holdfast.Invalid, member, "%s is of the collection %s; the copies in %q are of points of %s.", member, from.Collection, c.Name, c.Source)
	case from.ready() != nil:
		return p, job.Job{}, from.ready()
	}
	there, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Site, error) {
		return siteAt(tx, resource.IDOf(from.ID).Subscription, member, from.Location)
	})
	if err != nil {
		return p, job.Job{}, err
	}
	p.Source, p.SourceLocation, p.Want, p.Exclude = from.ID, from.Location, from.Want, from.Exclude
	p.Result.PointID, p.Result.VM = from.Result.PointID, from.Result.VM
	args := holdfast.RestorePointArgs{VM: from.Result.VM.VMRef, Source: &holdfast.PointRef{Repository: s.at(there, from), PointID: from.Result.PointID}}
	return s.enqueuePoint(ctx, c, p, args, func(tx *catalog.Tx) error {
		now, err := findRestorePoint(tx, from.ID)
		if err != nil {
			return err
		}
		return now.ready()
	})
}

// enqueuePoint makes the row of a point and its job, if the VM may have one more.
func (s *Service) enqueuePoint(ctx context.Context, c Collection, p RestorePoint, args holdfast.RestorePointArgs, check func(*catalog.Tx) error) (RestorePoint, job.Job, error) {
	site, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Site, error) {
		return siteAt(tx, resource.IDOf(c.ID).Subscription, "location", c.Location)
	})
	if err != nil {
		return p, job.Job{}, err
	}
	args.Site, args.Operational = site.Ref(), s.at(site, p)
	var j job.Job
	out, err := resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (_ RestorePoint, err error) {
		if err := check(tx); err != nil {
			return p, err
		}
		if err := s.roomForPoint(tx, c, p); err != nil {
			return p, err
		}
		if p.Result.PointID == "" {
			p.Result.PointID = newPointID(tx.Now())
		}
		args.PointID = p.Result.PointID
		spec := job.Spec{Operation: "CreateRestorePoint", Scope: p.Collection, Subject: p.ID, Entity: p.Result.VM.Name, Principal: resource.Caller(ctx), Exclusive: c.creation()}
		if j, err = job.Enqueue(s.Jobs, tx, kindRestorePoint, spec, args); err != nil {
			return p, err
		}
		p.JobID = j.ID
		return putRestorePoint(tx, p)
	})
	return out, j, err
}

// roomForPoint refuses a point whose name is taken, that the VM may not have yet
// or at all, or whose collection goes.
func (s *Service) roomForPoint(tx *catalog.Tx, c Collection, p RestorePoint) error {
	now, err := findCollection(tx, c.ID)
	if err != nil {
		return err
	}
	if now.Deleting {
		return holdfast.Errorf(holdfast.Conflict, c.ID, "The restore point collection %q is being deleted.", c.Name)
	}
	have, err := resource.List(tx, catalog.Query{Type: resource.TypeRestorePoint, Parent: machine(c.UUID)}, decodeRestorePoint)
	if err != nil {
		return err
	}
	var made []support.MadePoint
	for _, o := range have {
		switch {
		case strings.EqualFold(o.ID, p.ID) && o.State == PointFailed && !o.made():
			if err := s.forgetFailed(tx, c, o); err != nil { // it is tried again
				return err
			}
			continue
		case strings.EqualFold(o.ID, p.ID):
			return holdfast.Errorf(holdfast.Conflict, p.ID, "The restore point %q is there already (%s); a restore point does not change.", p.Name, o.State).WithHint("Choose another name.")
		case o.State == PointFailed && !o.made(), o.Lost:
			continue
		case p.Source != "" && o.Location == p.Location && o.Result.PointID == p.Result.PointID:
			return holdfast.Errorf(holdfast.Conflict, p.ID, "%s has a copy of that restore point already: %s.", p.Location, o.ID)
		}
		made = append(made, support.MadePoint{Asked: o.Created, Want: o.Want, Copy: o.Source != ""})
	}
	if err := job.Idle(tx, c.creation(), resource.LastName(c.VM)); err != nil {
		return err // rather than that it is too soon
	}
	return support.OneMorePoint(resource.LastName(c.VM), made, support.MadePoint{Asked: tx.Now(), Want: p.Want, Copy: p.Source != ""}, s.Limits.Lifts)
}

// restorePointDone applies what became of a point, in the transaction that ends
// its job.
func (s *Service) restorePointDone(tx *catalog.Tx, jobID string, _ holdfast.RestorePointArgs, r holdfast.RestorePointResult, runErr error) error {
	j, err := job.Get(tx, jobID)
	if err != nil {
		return err
	}
	p, err := findRestorePoint(tx, j.Subject)
	if err != nil {
		return err
	}
	if runErr != nil {
		p.State, p.Failure = PointFailed, job.FailureOf(runErr)
	} else {
		p.State, p.Result = PointSucceeded, r
	}
	_, err = putRestorePoint(tx, p)
	return err
}

// RestorePoints lists the restore points of a collection by name.
func (s *Service) RestorePoints(ctx context.Context, collection string) ([]RestorePoint, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) ([]RestorePoint, error) { return restorePointsIn(tx, collection) })
}

// RestorePointAt returns one restore point.
func (s *Service) RestorePointAt(ctx context.Context, id string) (RestorePoint, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (RestorePoint, error) { return findRestorePoint(tx, id) })
}

// PointProgress is how far the making of a restore point is, 0 to 100 percent.
func (s *Service) PointProgress(ctx context.Context, p RestorePoint) (int, error) {
	if p.State != PointCreating {
		if p.made() {
			return 100, nil
		}
		return 0, nil
	}
	j, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (job.Job, error) { return job.Get(tx, p.JobID) })
	if err != nil || j.Report.Total <= 0 {
		return 0, err
	}
	return int(min(j.Report.Done, j.Report.Total) * 100 / j.Report.Total), nil
}

// restorePointsIn are the points of a collection; of a point's id it is the point.
func restorePointsIn(tx *catalog.Tx, id string) ([]RestorePoint, error) {
	return resource.List(tx, catalog.Query{Type: resource.TypeRestorePoint, Under: id}, decodeRestorePoint)
}

// putRestorePoint writes a restore point as it is to be.
func putRestorePoint(tx *catalog.Tx, p RestorePoint) (RestorePoint, error) {
	r, err := catalog.Write(tx, catalog.Resource{ID: p.ID, Type: resource.TypeRestorePoint, Parent: machine(p.Result.VM.UUID)}, p)
	p.Stamp = resource.StampOf(r)
	return p, err
}

// findRestorePoint returns a restore point, or holdfast.NotFound.
func findRestorePoint(tx *catalog.Tx, id string) (RestorePoint, error) {
	r, err := tx.Get(id)
	if err != nil {
		if holdfast.KindOf(err) == holdfast.NotFound {
			err = holdfast.Errorf(holdfast.NotFound, id, "The restore point %q was not found.", resource.LastName(id))
		}
		return RestorePoint{}, err
	}
	return decodeRestorePoint(r)
}

// decodeRestorePoint reads a row.
func decodeRestorePoint(r catalog.Resource) (RestorePoint, error) {
	p, err := catalog.Decode[RestorePoint](r)
	p.Stamp = resource.StampOf(r)
	return p, err
}
