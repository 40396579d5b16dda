package server

import (
	"net/http"
	"slices"
	"strings"

	"holdfast/internal/api/resources"
	"holdfast/internal/arm"
	"holdfast/internal/resource"
	"holdfast/internal/service"
)

const (
	subPath   = "/subscriptions/{sub}"
	groupPath = subPath + "/resourceGroups/{rg}"
	sitesPath = subPath + "/providers/Holdfast.Site/sites"
)

// Subscriptions, locations, resource groups and sites.
var resourceRoutes = []route{
	get(subPath, "Microsoft.Resources/subscriptions/read", (*Server).subscription),
	get(subPath+"/locations", "Microsoft.Resources/subscriptions/locations/read", (*Server).locations),

	get(subPath+"/resourceGroups", "Microsoft.Resources/subscriptions/resourceGroups/read", (*Server).groups),
	get(groupPath, "Microsoft.Resources/subscriptions/resourceGroups/read", (*Server).getGroup),
	{method: http.MethodHead, pattern: groupPath, action: "Microsoft.Resources/subscriptions/resourceGroups/read", handler: (*Server).headGroup},
	put(groupPath, "Microsoft.Resources/subscriptions/resourceGroups/write", (*Server).putGroup),
	patch(groupPath, "Microsoft.Resources/subscriptions/resourceGroups/write", (*Server).patchGroup),
	remove(groupPath, "Microsoft.Resources/subscriptions/resourceGroups/delete", (*Server).deleteGroup),

	post(groupPath+"/moveResources", "Microsoft.Resources/subscriptions/resourceGroups/moveResources/action", (*Server).moveResources),
	post(groupPath+"/validateMoveResources", "Microsoft.Resources/subscriptions/resourceGroups/validateMoveResources/action", (*Server).checkMove),

	get(sitesPath, "Holdfast.Site/sites/read", (*Server).sites),
	get(sitesPath+"/{name}", "Holdfast.Site/sites/read", (*Server).site),
	put(sitesPath+"/{name}", "Holdfast.Site/sites/write", (*Server).putSite),
	remove(sitesPath+"/{name}", "Holdfast.Site/sites/delete", (*Server).deleteSite),
}

func (s *Server) subscription(r *request) (answer, error) {
	sub, err := s.Service.Resources.Subscription(r.Context(), r.sub())
	if err != nil {
		return answer{}, err
	}
	return ok(resources.Subscription(sub))
}

func (s *Server) locations(r *request) (answer, error) {
	sites, err := s.Service.Sites(r.Context(), r.sub())
	return listOf(sites, err, func(site service.Site) map[string]any { return resources.Location(r.sub(), site) })
}

// listOf is a listing with each element in its wire form.
func listOf[T, W any](all []T, err error, wire func(T) W) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	out := make([]W, len(all))
	for i, v := range all {
		out[i] = wire(v)
	}
	return listed(out)
}

// made is 201 for what is new and 200 for what was there.
func made(created bool, body any, err error) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	if created {
		return status(http.StatusCreated, body), nil
	}
	return ok(body)
}

// groups lists the resource groups; az asks for those with a tag.
func (s *Server) groups(r *request) (answer, error) {
	f, err := r.filter("tagName", "tagValue")
	if err != nil {
		return answer{}, err
	}
	all, err := s.Service.Resources.Groups(r.Context(), r.sub())
	return listOf(slices.DeleteFunc(all, func(g resource.Group) bool { return !tagged(f, g.Tags) }), err, resources.Group)
}

// tagged says whether tags are those that a filter asks for.
func tagged(f arm.Filter, tags map[string]string) bool {
	want, value := f.Get("tagName"), f.Get("tagValue")
	if want == "" && value == "" {
		return true
	}
	for name, v := range tags {
		if (want == "" || strings.EqualFold(name, want)) && (value == "" || v == value) {
			return true
		}
	}
	return false
}

// moving is what a request to move resources asks for.
func (r *request) moving() (service.Moving, error) {
	in, err := decoded(r, resources.DecodeMove)
	return service.Moving{Subscription: r.sub(), Group: r.group(), Resources: in.Resources, Target: in.Target, May: func(action, resource string) error {
		if !r.may(action, resource) {
			return r.forbidden(action, resource)
		}
		return r.unlockedFor(action, resource)
	}}, err
}

func (s *Server) moveResources(r *request) (answer, error) {
	m, err := r.moving()
	if err != nil {
		return answer{}, err
	}
	j, err := s.Service.MoveResources(r.Context(), m)
	if err != nil {
		return answer{}, err
	}
	return r.following(http.StatusAccepted, nil, j), nil
}

func (s *Server) checkMove(r *request) (answer, error) {
	m, err := r.moving()
	if err != nil {
		return answer{}, err
	}
	if err := s.Service.CheckMove(r.Context(), m); err != nil {
		return answer{}, err
	}
	return noContent()
}

func (s *Server) getGroup(r *request) (answer, error) {
	g, err := s.Service.Resources.Group(r.Context(), r.sub(), r.group())
	if err != nil {
		return answer{}, err
	}
	return ok(resources.Group(g))
}

func (s *Server) headGroup(r *request) (answer, error) {
	if _, err := s.Service.Resources.Group(r.Context(), r.sub(), r.group()); err != nil {
		return answer{}, err
	}
	return noContent()
}

func (s *Server) putGroup(r *request) (answer, error) {
	in, err := decoded(r, resources.Decode[resources.Input])
	if err != nil {
		return answer{}, err
	}
	g, created, err := s.Service.Resources.PutGroup(r.Context(), r.sub(), r.group(), resource.Group{Location: in.Location, Tags: in.Tags})
	return made(created, resources.Group(g), err)
}

func (s *Server) patchGroup(r *request) (answer, error) {
	in, err := decoded(r, resources.Decode[resources.Input])
	if err != nil {
		return answer{}, err
	}
	g, err := s.Service.Resources.TagGroup(r.Context(), r.sub(), r.group(), in.Tags)
	if err != nil {
		return answer{}, err
	}
	return ok(resources.Group(g))
}

func (s *Server) deleteGroup(r *request) (answer, error) {
	j, err := s.Service.DeleteGroup(r.Context(), r.sub(), r.group(), r.may)
	if err != nil {
		return answer{}, err
	}
	return r.following(http.StatusAccepted, nil, j), nil
}

func (s *Server) sites(r *request) (answer, error) {
	all, err := s.Service.Sites(r.Context(), r.sub())
	return listOf(all, err, func(site service.Site) resources.Resource { w, _ := resources.Site(site); return w })
}

func (s *Server) site(r *request) (answer, error) {
	site, err := s.Service.Site(r.Context(), r.sub(), r.name())
	if err != nil {
		return answer{}, err
	}
	live, err := s.liveSite(r, site)
	if err != nil {
		return answer{}, err
	}
	return ok(live)
}

func (s *Server) putSite(r *request) (answer, error) {
	in, err := decoded(r, resources.DecodeSite)
	if err != nil {
		return answer{}, err
	}
	site, created, err := s.Service.PutSite(r.Context(), r.sub(), r.name(), in)
	if err != nil {
		return answer{}, err
	}
	live, err := s.liveSite(r, site)
	return made(created, live, err)
}

// liveSite is a site with what is found out about it now.
func (s *Server) liveSite(r *request, site service.Site) (resources.Resource, error) {
	o, err := s.Service.OperationalOf(r.Context(), site)
	if err != nil {
		return resources.Resource{}, err
	}
	have, err := s.Service.SiteFacts(r.Context(), site)
	return resources.LiveSite(site, o, have, err), nil
}

func (s *Server) deleteSite(r *request) (answer, error) {
	if err := s.Service.DeleteSite(r.Context(), r.sub(), r.name()); err != nil {
		return answer{}, err
	}
	return status(http.StatusOK, nil), nil
}
