package arm

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// ID is a parsed resource id:
//
//	/subscriptions/S[/resourceGroups/G][/providers/NS/type/name[/type/name…]]…
//
// Of several providers (an extension resource such as a lock) the last one is
// the resource and all before it is its Scope.
type ID struct {
	Subscription string
	Group        string
	Scope        string   // what the provider is attached to; "" without a provider
	Provider     string   // namespace, such as Microsoft.RecoveryServices
	Types        []string // type, child type, …
	Names        []string // as many as Types
}

// maxID bounds an id; Azure documents 2048 for a whole URL path.
const maxID = 2048

// ParseID parses an id. Keywords may come in any case, and empty segments and
// a trailing slash are dropped, as clients send them (arm-contract, 4).
func ParseID(s string) (ID, error) {
	if len(s) > maxID {
		return ID{}, fmt.Errorf("resource id is longer than %d characters", maxID)
	}
	if !strings.HasPrefix(s, "/") {
		return ID{}, errors.New("resource id does not begin with /")
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == '?' || r == '#' {
			return ID{}, fmt.Errorf("resource id has the character %q", r)
		}
	}
	segs := split(s)
	if len(segs) < 2 || !strings.EqualFold(segs[0], "subscriptions") {
		return ID{}, errors.New("resource id does not begin with /subscriptions/{subscription}")
	}
	id := ID{Subscription: segs[1]}
	segs = segs[2:]
	if len(segs) >= 2 && strings.EqualFold(segs[0], "resourceGroups") {
		id.Group, segs = segs[1], segs[2:]
	}
	for len(segs) > 0 {
		var err error
		if segs, err = id.provider(segs); err != nil {
			return ID{}, err
		}
	}
	return id, nil
}

// provider takes one /providers/NS/type/name… off segs.
func (id *ID) provider(segs []string) ([]string, error) {
	if !strings.EqualFold(segs[0], "providers") {
		return nil, fmt.Errorf("resource id has %q where /providers/ is expected", segs[0])
	}
	if len(segs) < 4 {
		return nil, errors.New("resource id ends before the resource's type and name")
	}
	id.Scope = id.String()
	id.Provider, id.Types, id.Names = segs[1], nil, nil
	segs = segs[2:]
	for len(segs) > 0 && !strings.EqualFold(segs[0], "providers") {
		if len(segs) < 2 {
			return nil, fmt.Errorf("resource id has the type %q without a name", segs[0])
		}
		id.Types, id.Names = append(id.Types, segs[0]), append(id.Names, segs[1])
		segs = segs[2:]
	}
	if len(id.Types) == 0 {
		return nil, errors.New("resource id ends before the resource's type and name")
	}
	return segs, nil
}

// String gives the id with its keywords in ARM's case.
func (id ID) String() string {
	var b strings.Builder
	if id.Provider == "" {
		b.WriteString("/subscriptions/" + id.Subscription)
		if id.Group != "" {
			b.WriteString("/resourceGroups/" + id.Group)
		}
		return b.String()
	}
	b.WriteString(id.Scope + "/providers/" + id.Provider)
	for i := range id.Types {
		b.WriteString("/" + id.Types[i] + "/" + id.Names[i])
	}
	return b.String()
}

// Type is the full resource type, such as Microsoft.Compute/virtualMachines.
func (id ID) Type() string {
	if id.Provider != "" {
		return id.Provider + "/" + strings.Join(id.Types, "/")
	}
	if id.Group != "" {
		return "Microsoft.Resources/resourceGroups"
	}
	return "Microsoft.Resources/subscriptions"
}

// Is says whether the id is of a resource type, in any case.
func (id ID) Is(resourceType string) bool { return strings.EqualFold(id.Type(), resourceType) }

// Name is the last name in the id.
func (id ID) Name() string {
	switch {
	case len(id.Names) > 0:
		return id.Names[len(id.Names)-1]
	case id.Group != "":
		return id.Group
	default:
		return id.Subscription
	}
}

// Within says whether id is the scope or lies below it.
func Within(id, scope string) bool {
	id, scope = strings.ToLower(id), strings.ToLower(strings.TrimSuffix(scope, "/"))
	return id == scope || strings.HasPrefix(id, scope+"/")
}

// Segments splits the escaped path of a request: empty segments are dropped,
// escapes such as %3B are undone. An escaped slash, a control character or a
// dot segment is an error, so that a name can never reach above its place.
func Segments(escaped string) ([]string, error) {
	if len(escaped) > 2*maxID {
		return nil, fmt.Errorf("path is longer than %d characters", 2*maxID)
	}
	segs := split(escaped)
	for i, s := range segs {
		plain, err := url.PathUnescape(s)
		if err != nil {
			return nil, fmt.Errorf("path has a broken escape: %q", s)
		}
		if plain == "." || plain == ".." || strings.ContainsFunc(plain, func(r rune) bool { return r < ' ' || r == 0x7f || r == '/' || r == '\\' }) {
			return nil, fmt.Errorf("path has the segment %q", plain)
		}
		segs[i] = plain
	}
	return segs, nil
}

func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}
