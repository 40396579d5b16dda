package server

import (
	"bytes"
	"io"
	"net/http"
	"strings"

	"holdfast"
	"holdfast/internal/api/compute"
	"holdfast/internal/api/resources"
	"holdfast/internal/resource"
	"holdfast/internal/service"
)

const (
	vmPath   = groupPath + "/providers/Microsoft.Compute/virtualMachines/{name}"
	vmType   = "Microsoft.Compute/virtualMachines"
	diskPath = groupPath + "/providers/Microsoft.Compute/disks"
)

// What is done to machines and disks. Work on a machine is a job, and its
// operation ends with the job.
var machineRoutes = []route{
	post(vmPath+"/start", vmType+"/start/action", act(holdfast.MachineStart)),
	post(vmPath+"/powerOff", vmType+"/powerOff/action", act(holdfast.MachineStop)),
	post(vmPath+"/deallocate", vmType+"/deallocate/action", act(holdfast.MachineStop)),
	post(vmPath+"/restart", vmType+"/restart/action", act(holdfast.MachineRestart)),
	post(vmPath+"/generalize", vmType+"/generalize/action", (*Server).generalize),
	post(vmPath+"/convertToManagedDisks", vmType+"/convertToManagedDisks/action", (*Server).convertVM),
	put(vmPath, vmType+"/write", (*Server).putVM),
	patch(vmPath, vmType+"/write", (*Server).updateVM),
	remove(vmPath, vmType+"/delete", act(holdfast.MachineDelete)),

	get(subPath+"/providers/Microsoft.Compute/disks", "Microsoft.Compute/disks/read", (*Server).disks),
	get(diskPath, "Microsoft.Compute/disks/read", (*Server).disks),
	get(diskPath+"/{name}", "Microsoft.Compute/disks/read", (*Server).disk),
	put(diskPath+"/{name}", "Microsoft.Compute/disks/write", (*Server).putDisk),
	patch(diskPath+"/{name}", "Microsoft.Compute/disks/write", (*Server).patchDisk),
	remove(diskPath+"/{name}", "Microsoft.Compute/disks/delete", (*Server).deleteDisk),
}

// act is the handler of an action on a machine. skipShutdown and forceDeletion
// are Azure's words for taking the power away at once.
func act(action holdfast.MachineAction) handler {
	return func(s *Server, r *request) (answer, error) {
		force := strings.EqualFold(r.URL.Query().Get("skipShutdown"), "true")
		j, err := s.Service.ActOnVM(r.Context(), r.sub(), r.group(), r.name(), action, force)
		if err != nil {
			return answer{}, err
		}
		return r.following(http.StatusAccepted, nil, j), nil
	}
}

func (s *Server) generalize(r *request) (answer, error) {
	return answer{status: http.StatusOK}, s.Service.Generalize(r.Context(), r.sub(), r.group(), r.name())
}

// convertVM moves a machine's disks into a pool. Azure's request has no body; one
// may name the pool (properties.holdfast.storageAccountId).
func (s *Server) convertVM(r *request) (answer, error) {
	pool, err := decoded(r, compute.DecodeConvert)
	if err != nil {
		return answer{}, err
	}
	j, err := s.Service.ConvertVM(r.Context(), r.sub(), r.group(), r.name(), pool)
	if err != nil {
		return answer{}, err
	}
	return r.following(http.StatusAccepted, nil, j), nil
}

// putVM makes a whole machine of a restore point, if the body names one, for who
// may read that. Any other PUT is updateVM.
func (s *Server) putVM(r *request) (answer, error) {
	b, err := r.body()
	if err != nil {
		return answer{}, err
	}
	in, err := compute.DecodeWholeVM(b)
	if err != nil {
		return answer{}, err
	}
	if in.Point == "" {
		r.Body = io.NopCloser(bytes.NewReader(b))
		return s.updateVM(r)
	}
	if !r.may(diskPointType+"/beginGetAccess/action", in.Point) {
		return answer{}, r.forbidden(diskPointType+"/beginGetAccess/action", in.Point)
	}
	j, err := s.Service.VMOfPoint(r.Context(), r.sub(), r.group(), r.name(), in)
	if err != nil {
		return answer{}, err
	}
	wire := resources.Resource{ID: r.resource(), Name: r.name(), Type: resource.TypeVM, Location: in.Location, Properties: map[string]any{"provisioningState": "Creating"}}
	return r.following(http.StatusCreated, wire, j), nil
}

// updateVM is PUT and PATCH: tags at once, data disks as an operation. Which
// disks are attached is for who may write those disks.
func (s *Server) updateVM(r *request) (answer, error) {
	if r.Method == http.MethodPut {
		if _, err := s.Service.VM(r.Context(), r.sub(), r.group(), r.name()); err != nil && holdfast.KindOf(err) == holdfast.NotFound {
			return s.createVM(r)
		}
	}
	in, err := decoded(r, compute.DecodeUpdate)
	if err != nil {
		return answer{}, err
	}
	if in.Size != "" {
		vm, err := s.Service.VM(r.Context(), r.sub(), r.group(), r.name())
		if err == nil && in.Size != compute.Size(vm.VMFact) {
			return answer{}, holdfast.Errorf(holdfast.Unsupported, "properties.hardwareProfile.vmSize", "The VM is %q; its size is not changed here.", compute.Size(vm.VMFact)).
				WithHint("Change its definition with libvirt's tools.")
		}
	}
	if err := r.mayAttach(in.Disks); err != nil {
		return answer{}, err
	}
	if err := r.mayName(in.EncryptionSets()); err != nil {
		return answer{}, err
	}
	vm, j, err := s.Service.UpdateVM(r.Context(), r.sub(), r.group(), r.name(), in)
	if err != nil {
		return answer{}, err
	}
	wire := compute.VM(vm, false)
	if j == nil {
		return ok(wire)
	}
	updating := "Updating"
	wire.Properties.ProvisioningState = &updating
	return r.following(http.StatusOK, wire, *j), nil
}

// mayAttach refuses disks for who may not write them.
func (r *request) mayAttach(disks []service.WantedDisk) error {
	for _, k := range disks {
		if k.ID != "" && !r.may("Microsoft.Compute/disks/write", k.ID) {
			return holdfast.Errorf(holdfast.Forbidden, k.ID, "The client %q may not perform Microsoft.Compute/disks/write on %s, which the VM is to have.", r.caller.ClientID, k.ID)
		}
	}
	return nil
}

// createVM is PUT on a machine that is not there: one is made of restored disks,
// for who may restore the point that it is of and may write the disks.
func (s *Server) createVM(r *request) (answer, error) {
	in, err := decoded(r, compute.DecodeNew)
	if err != nil {
		return answer{}, err
	}
	if in.Point != "" {
		if err := r.insideOf(strings.Split(strings.Trim(in.Point, "/"), "/")); err != nil {
			return answer{}, err
		}
		if action := itemType + "/recoveryPoints/restore/action"; !r.may(action, in.Point) {
			return answer{}, r.forbidden(action, in.Point)
		}
	}
	if err := r.mayAttach(in.Disks); err != nil {
		return answer{}, err
	}
	if err := r.mayName(service.VMUpdate{Disks: in.Disks}.EncryptionSets()); err != nil {
		return answer{}, err
	}
	j, err := s.Service.CreateVM(r.Context(), r.sub(), r.group(), r.name(), in)
	if err != nil {
		return answer{}, err
	}
	return r.following(http.StatusCreated, compute.Creating(r.resource(), r.name(), in), j), nil
}

func (s *Server) disks(r *request) (answer, error) {
	all, err := s.Service.Disks(r.Context(), r.sub(), r.group())
	return listOf(all, err, compute.Disk)
}

func (s *Server) disk(r *request) (answer, error) {
	d, err := s.Service.Disk(r.Context(), r.sub(), r.group(), r.name())
	return diskAnswer(d, err)
}

func (s *Server) putDisk(r *request) (answer, error) {
	in, err := decoded(r, compute.DecodeDisk)
	if err != nil {
		return answer{}, err
	}
	if err := r.mayName(setOf(in)); err != nil {
		return answer{}, err
	}
	switch _, err := s.Service.Disk(r.Context(), r.sub(), r.group(), r.name()); {
	case err == nil:
		// What it was made of may be gone: it is not asked for again, and not taken
		// either, should the disk go meanwhile.
		in.Create, in.Source, in.SourceAt = "", "", ""
	case holdfast.KindOf(err) != holdfast.NotFound:
		return answer{}, err
	default:
		if in.Source, err = s.Service.Origin(r.Context(), r.sub(), in); err != nil {
			return answer{}, err
		}
		if err := r.mayUse(in); err != nil {
			return answer{}, err
		}
	}
	d, j, err := s.Service.PutDisk(r.Context(), r.sub(), r.group(), r.name(), in)
	if err != nil || j == nil {
		return diskAnswer(d, err) // 201 is an error to the SDK
	}
	wire := compute.Disk(d)
	wire.Properties.(map[string]any)["provisioningState"] = "Creating"
	return r.following(http.StatusAccepted, wire, *j), nil
}

// mayUse refuses to make a disk of what its caller may not read or restore.
func (r *request) mayUse(in service.DiskRequest) error {
	action := "Microsoft.Compute/disks/read"
	switch {
	case in.Source == "":
		return nil
	case strings.HasSuffix(strings.ToLower(in.Source[:strings.LastIndexByte(in.Source, '/')]), "/diskrestorepoints"):
		action = diskPointType + "/beginGetAccess/action"
	case strings.EqualFold(in.Create, "Restore"):
		action = itemType + "/recoveryPoints/restore/action"
		if err := r.insideOf(strings.Split(strings.Trim(in.Source, "/"), "/")); err != nil {
			return err
		}
	}
	if !r.may(action, in.Source) {
		return r.forbidden(action, in.Source)
	}
	return nil
}

func (s *Server) patchDisk(r *request) (answer, error) {
	in, err := decoded(r, compute.DecodeDisk)
	if err != nil {
		return answer{}, err
	}
	if err := r.mayName(setOf(in)); err != nil {
		return answer{}, err
	}
	d, err := s.Service.ChangeDisk(r.Context(), r.sub(), r.group(), r.name(), in)
	return diskAnswer(d, err)
}

// setOf is the disk encryption set that a disk is to name, if there is one.
func setOf(in service.DiskRequest) []string {
	if in.EncryptionSet == nil || *in.EncryptionSet == "" {
		return nil
	}
	return []string{*in.EncryptionSet}
}

func (s *Server) deleteDisk(r *request) (answer, error) {
	if err := s.Service.DeleteDisk(r.Context(), r.sub(), r.group(), r.name()); err != nil {
		return answer{}, err
	}
	return status(http.StatusOK, nil), nil
}

func diskAnswer(d service.Disk, err error) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	return ok(compute.Disk(d))
}
