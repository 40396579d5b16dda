package server

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"holdfast"
	"holdfast/internal/api/compute"
	"holdfast/internal/api/resources"
	"holdfast/internal/job"
	"holdfast/internal/service"
)

const (
	collectionsIn  = "/providers/Microsoft.Compute/restorePointCollections"
	collectionPath = groupPath + collectionsIn + "/{name}"
	collectionType = "Microsoft.Compute/restorePointCollections"

	restorePointPath = collectionPath + "/restorePoints/{point}"
	restorePointType = collectionType + "/restorePoints"
	diskPointPath    = restorePointPath + "/diskRestorePoints"
	diskPointType    = restorePointType + "/diskRestorePoints"
)

// Restore point collections, restore points and the disks in them. The actions
// are Azure's (learn.microsoft.com/azure/role-based-access-control/permissions/compute).
var restorePointRoutes = []route{
	get(subPath+collectionsIn, collectionType+"/read", (*Server).collections),
	get(groupPath+collectionsIn, collectionType+"/read", (*Server).collections),
	get(collectionPath, collectionType+"/read", (*Server).collection),
	put(collectionPath, collectionType+"/write", (*Server).putCollection),
	patch(collectionPath, collectionType+"/write", (*Server).tagCollection),
	remove(collectionPath, collectionType+"/delete", (*Server).deleteCollection),

	get(restorePointPath, restorePointType+"/read", (*Server).restorePoint),
	put(restorePointPath, restorePointType+"/write", (*Server).createRestorePoint),
	remove(restorePointPath, restorePointType+"/delete", (*Server).deleteRestorePoint),

	get(diskPointPath, diskPointType+"/read", (*Server).diskPoints),
	get(diskPointPath+"/{disk}", diskPointType+"/read", (*Server).diskPoint),
	post(diskPointPath+"/{disk}/beginGetAccess", diskPointType+"/beginGetAccess/action", (*Server).grantAccess),
	post(diskPointPath+"/{disk}/endGetAccess", diskPointType+"/endGetAccess/action", (*Server).endAccess),
}

// collectionID is the id of the collection that the path names.
func (r *request) collectionID() string {
	return "/subscriptions/" + r.sub() + "/resourceGroups/" + r.group() + collectionsIn + "/" + r.name()
}

func (r *request) restorePointID() string {
	return service.RestorePointID(r.collectionID(), r.captures["point"])
}

func (r *request) diskPointID() string {
	return r.restorePointID() + "/diskRestorePoints/" + r.captures["disk"]
}

func (s *Server) collections(r *request) (answer, error) {
	all, err := s.Service.Collections(r.Context(), r.sub(), r.group())
	return listOf(all, err, func(c service.Collection) resources.Resource { return compute.Collection(c, nil) })
}

func (s *Server) collection(r *request) (answer, error) {
	c, err := s.Service.Collection(r.Context(), r.collectionID())
	if err != nil {
		return answer{}, err
	}
	if !strings.EqualFold(r.URL.Query().Get("$expand"), "restorePoints") {
		return ok(compute.Collection(c, nil))
	}
	points, err := s.Service.RestorePoints(r.Context(), c.ID)
	if err != nil {
		return answer{}, err
	}
	return ok(compute.Collection(c, append([]service.RestorePoint{}, points...)))
}

// putCollection makes a collection. Its points have the bytes of the machine: it
// is for who has the same right at the machine, or may read the points copied.
func (s *Server) putCollection(r *request) (answer, error) {
	in, err := decoded(r, compute.DecodeCollection)
	if err != nil {
		return answer{}, err
	}
	in.Version = r.version
	if in.Source != "" && !r.may(collectionType+"/write", in.Source) {
		return answer{}, r.forbidden(collectionType+"/write", in.Source)
	}
	c, created, err := s.Service.PutCollection(r.Context(), r.sub(), r.group(), r.name(), in)
	return made(created, compute.Collection(c, nil), err)
}

func (s *Server) tagCollection(r *request) (answer, error) {
	in, err := decoded(r, compute.DecodeCollection)
	if err != nil {
		return answer{}, err
	}
	if in.Source != "" {
		return answer{}, holdfast.Errorf(holdfast.Unsupported, "properties.source.id", "The source of a restore point collection does not change.").WithHint("Make another collection.")
	}
	c, err := s.Service.TagCollection(r.Context(), r.collectionID(), in.Tags)
	if err != nil {
		return answer{}, err
	}
	return ok(compute.Collection(c, nil))
}

func (s *Server) deleteCollection(r *request) (answer, error) {
	return r.deleting(s.Service.DeleteCollection(r.Context(), r.collectionID()))
}

// deleting is the answer to a deletion that goes on in a job; what is not there
// is 204, as clients expect of DELETE.
func (r *request) deleting(j job.Job, err error) (answer, error) {
	if err != nil && holdfast.KindOf(err) == holdfast.NotFound {
		return noContent()
	}
	if err != nil {
		return answer{}, err
	}
	return r.following(http.StatusAccepted, nil, j), nil
}

func (s *Server) restorePoint(r *request) (answer, error) {
	p, err := s.Service.RestorePointAt(r.Context(), r.restorePointID())
	if err != nil {
		return answer{}, err
	}
	wire := compute.RestorePoint(p)
	if strings.EqualFold(r.URL.Query().Get("$expand"), "instanceView") {
		percent, err := s.Service.PointProgress(r.Context(), p)
		if err != nil {
			return answer{}, err
		}
		wire.Properties.(map[string]any)["instanceView"] = compute.InstanceViewOf(p, percent)
	}
	return ok(wire)
}

// createRestorePoint answers 201, which is all that the clients take
// (arm-contract, 5), and an operation to follow.
func (s *Server) createRestorePoint(r *request) (answer, error) {
	in, err := decoded(r, compute.DecodeRestorePoint)
	if err != nil {
		return answer{}, err
	}
	in.Version = r.version
	if in.Source != "" && !r.may(diskPointType+"/beginGetAccess/action", in.Source) {
		return answer{}, r.forbidden(diskPointType+"/beginGetAccess/action", in.Source)
	}
	p, j, err := s.Service.CreateRestorePoint(r.Context(), r.collectionID(), r.captures["point"], in)
	if err != nil {
		return answer{}, err
	}
	return r.following(http.StatusCreated, compute.RestorePoint(p), j), nil
}

func (s *Server) deleteRestorePoint(r *request) (answer, error) {
	return r.deleting(s.Service.DeleteRestorePoint(r.Context(), r.restorePointID()))
}

func (s *Server) diskPoints(r *request) (answer, error) {
	all, err := s.Service.DiskPoints(r.Context(), r.restorePointID())
	if err != nil || len(all) == 0 {
		return listOf([]service.DiskPoint{}, err, func(d service.DiskPoint) any { return d })
	}
	percent, err := s.Service.PointProgress(r.Context(), all[0].Point)
	return listOf(all, err, func(d service.DiskPoint) resources.Resource { return compute.DiskRestorePoint(d, percent) })
}

func (s *Server) diskPoint(r *request) (answer, error) {
	d, err := s.Service.DiskPoint(r.Context(), r.diskPointID())
	if err != nil {
		return answer{}, err
	}
	percent, err := s.Service.PointProgress(r.Context(), d.Point)
	if err != nil {
		return answer{}, err
	}
	return ok(compute.DiskRestorePoint(d, percent))
}

// grantAccess answers at once with a URL that a blob client can read from. The
// secret in it is shown here and nowhere else.
func (s *Server) grantAccess(r *request) (answer, error) {
	in, err := decoded(r, compute.DecodeAccess)
	if err != nil {
		return answer{}, err
	}
	name, secret, a, err := s.Service.GrantAccess(r.Context(), r.diskPointID(), in)
	if err != nil {
		return answer{}, err
	}
	q := accessWords(a)
	q.Set("sig", secret)
	return ok(map[string]string{"accessSAS": r.base() + "/content/" + name + "/disk?" + q.Encode()})
}

// accessWords are what the URL of an access says of it, beside its secret. They are
// no part of the secret, so that whoever reads with it has to send them as they are.
func accessWords(a service.Access) url.Values {
	return url.Values{"sv": {"2018-03-28"}, "sr": {"b"}, "sp": {"r"}, "se": {a.Expires.UTC().Format(time.RFC3339)}}
}

func (s *Server) endAccess(r *request) (answer, error) {
	if err := s.Service.EndAccess(r.Context(), r.diskPointID()); err != nil {
		return answer{}, err
	}
	return status(http.StatusOK, nil), nil
}
