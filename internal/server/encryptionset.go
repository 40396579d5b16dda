package server

import (
	"net/http"

	"holdfast"
	"holdfast/internal/api/compute"
	"holdfast/internal/service"
)

const (
	setsIn  = "/providers/Microsoft.Compute/diskEncryptionSets"
	setPath = groupPath + setsIn + "/{name}"
	setType = "Microsoft.Compute/diskEncryptionSets"
)

// Disk encryption sets: the keys of customers.
var encryptionSetRoutes = []route{
	get(subPath+setsIn, setType+"/read", (*Server).encryptionSets),
	get(groupPath+setsIn, setType+"/read", (*Server).encryptionSets),
	get(setPath, setType+"/read", (*Server).encryptionSet),
	get(setPath+"/associatedResources", setType+"/read", (*Server).setUsers),
	put(setPath, setType+"/write", (*Server).putEncryptionSet),
	patch(setPath, setType+"/write", (*Server).updateEncryptionSet),
	remove(setPath, setType+"/delete", (*Server).deleteEncryptionSet),
}

func (r *request) setID() string {
	return "/subscriptions/" + r.sub() + "/resourceGroups/" + r.group() + setsIn + "/" + r.name()
}

func (s *Server) encryptionSets(r *request) (answer, error) {
	all, err := s.Service.EncryptionSets(r.Context(), r.sub(), r.group())
	return listOf(all, err, compute.EncryptionSet)
}

func (s *Server) encryptionSet(r *request) (answer, error) {
	return setAnswer(s.Service.EncryptionSet(r.Context(), r.setID()))
}

// setUsers lists the ids of the disks that name a set.
func (s *Server) setUsers(r *request) (answer, error) {
	ids, err := s.Service.SetUsers(r.Context(), r.setID())
	return listOf(ids, err, func(id string) string { return id })
}

// putEncryptionSet answers 200 for a new one, too: 201 is an error to the SDK.
func (s *Server) putEncryptionSet(r *request) (answer, error) {
	in, err := decoded(r, compute.DecodeEncryptionSet)
	if err != nil {
		return answer{}, err
	}
	return setAnswer(s.Service.PutEncryptionSet(r.Context(), r.sub(), r.group(), r.name(), in))
}

func (s *Server) updateEncryptionSet(r *request) (answer, error) {
	in, err := decoded(r, compute.DecodeEncryptionSet)
	if err != nil {
		return answer{}, err
	}
	return setAnswer(s.Service.UpdateEncryptionSet(r.Context(), r.setID(), in))
}

func (s *Server) deleteEncryptionSet(r *request) (answer, error) {
	there, err := s.Service.DeleteEncryptionSet(r.Context(), r.setID())
	switch {
	case err != nil:
		return answer{}, err
	case !there:
		return noContent()
	}
	return status(http.StatusOK, nil), nil
}

func setAnswer(e service.EncryptionSet, err error) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	return ok(compute.EncryptionSet(e))
}

// mayName refuses disk encryption sets for who may not read them: what is sealed
// under their keys is their owners'.
func (r *request) mayName(sets []string) error {
	for _, id := range sets {
		if !r.may(setType+"/read", id) {
			return holdfast.Errorf(holdfast.Forbidden, id, "The client %q may not perform %s/read on %s, which a disk is to name.", r.caller.ClientID, setType, id)
		}
	}
	return nil
}
