package server

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"holdfast"
	"holdfast/internal/api/resources"
)

const (
	tagsPath = "/{scope...}/providers/Microsoft.Resources/tags/default"
	tagsType = "Microsoft.Resources/tags"
)

// The tags of a resource as a resource of their own (az tag), and those that a
// subscription uses.
var tagRoutes = []route{
	get(tagsPath, tagsType+"/read", (*Server).tags),
	put(tagsPath, tagsType+"/write", (*Server).putTags),
	patch(tagsPath, tagsType+"/write", (*Server).patchTags),
	remove(tagsPath, tagsType+"/delete", (*Server).deleteTags),
	get(subPath+"/tagNames", "Microsoft.Resources/subscriptions/tagNames/read", (*Server).tagNames),
}

func (s *Server) tags(r *request) (answer, error) {
	tags, err := s.Service.Tags(r.Context(), r.scope())
	if err != nil {
		return answer{}, err
	}
	return ok(resources.Tags(r.scope(), tags))
}

// setTags replaces the tags of the resource that the path is about.
func (s *Server) setTags(r *request, tags map[string]string) (answer, error) {
	if err := s.Service.SetTags(r.Context(), r.scope(), tags); err != nil {
		return answer{}, err
	}
	return ok(resources.Tags(r.scope(), tags))
}

func (s *Server) putTags(r *request) (answer, error) {
	in, err := decoded(r, resources.DecodeTags)
	if err != nil {
		return answer{}, err
	}
	if in.Tags == nil {
		return answer{}, holdfast.Errorf(holdfast.Invalid, "properties.tags", "properties.tags is missing.")
	}
	return s.setTags(r, in.Tags)
}

func (s *Server) patchTags(r *request) (answer, error) {
	in, err := decoded(r, resources.DecodeTags)
	if err != nil {
		return answer{}, err
	}
	have, err := s.Service.Tags(r.Context(), r.scope())
	if err != nil {
		return answer{}, err
	}
	want := maps.Clone(have)
	if want == nil {
		want = map[string]string{}
	}
	switch strings.ToLower(in.Operation) {
	case "replace":
		want = in.Tags
	case "merge":
		maps.Copy(want, in.Tags)
	case "delete":
		maps.DeleteFunc(want, func(name, v string) bool { gone, ok := in.Tags[name]; return ok && (gone == "" || gone == v) })
	default:
		return answer{}, holdfast.Errorf(holdfast.Invalid, "operation", "operation is %q; it is Replace, Merge or Delete.", in.Operation)
	}
	if want == nil {
		want = map[string]string{}
	}
	return s.setTags(r, want)
}

func (s *Server) deleteTags(r *request) (answer, error) {
	if err := s.Service.SetTags(r.Context(), r.scope(), map[string]string{}); err != nil {
		return answer{}, err
	}
	return status(http.StatusOK, nil), nil
}

// tagNames counts which tags the resource groups, vaults and machines have.
func (s *Server) tagNames(r *request) (answer, error) {
	used, err := s.Service.TagsUsed(r.Context(), r.sub())
	if err != nil {
		return answer{}, err
	}
	out := []map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(used)) {
		values, total := []map[string]any{}, 0
		for _, v := range slices.Sorted(maps.Keys(used[name])) {
			n := used[name][v]
			total += n
			values = append(values, map[string]any{"tagValue": v, "count": map[string]any{"type": "Total", "value": n}})
		}
		out = append(out, map[string]any{"id": "/subscriptions/" + r.sub() + "/tagNames/" + name, "tagName": name, "values": values,
			"count": map[string]any{"type": "Total", "value": total}})
	}
	return listed(out)
}
