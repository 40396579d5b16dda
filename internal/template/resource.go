package template

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// made is a resource that was evaluated, and what others call it by.
type made struct {
	Resource
	at        string
	aliases   []string // its symbol, its loop's name
	dependsOn []string
	skipped   bool // its condition does not hold, or it exists
}

// resources evaluates every resource and puts them in order.
func (x *expander) resources() ([]Resource, error) {
	var all []*made
	for _, d := range x.doc.resources {
		some, err := x.declared(d, "", "", "")
		if err != nil {
			return nil, err
		}
		if all = append(all, some...); len(all) > maxResources {
			return nil, errorf(d.at, "the template makes more than %d resources", maxResources)
		}
	}
	seen := map[string]string{}
	for _, m := range all {
		if m.skipped {
			continue
		}
		id := strings.ToLower(m.ID)
		if first, twice := seen[id]; twice {
			return nil, errorf(m.at, "it is %s, as %s is", m.ID, first)
		}
		seen[id] = m.at
	}
	return order(all)
}

// declared evaluates one resource of the template: with a loop it is several,
// with children they come after it. parentType and parentName are those of the
// resource it stands in.
func (x *expander) declared(d declared, scope, parentType, parentName string) ([]*made, error) {
	raw, isLoop := d.tree["copy"]
	if !isLoop {
		return x.one(d, scope, parentType, parentName, nil)
	}
	c, _ := raw.(map[string]any)
	name, _ := c["name"].(string)
	if name == "" {
		return nil, errorf(d.at+".copy", "a loop of resources has a name and a count")
	}
	n, err := x.count(d.at+".copy", c["count"])
	if err != nil {
		return nil, err
	}
	var all []*made
	for i := range n {
		x.loops = append(x.loops, loop{name: name, index: i})
		some, err := x.one(d, scope, parentType, parentName, []string{name})
		x.loops = x.loops[:len(x.loops)-1]
		if err != nil {
			return nil, err
		}
		if all = append(all, some...); len(all) > maxResources {
			return nil, errorf(d.at+".copy", "the template makes more than %d resources", maxResources)
		}
	}
	return all, nil
}

// one evaluates one resource and its children.
func (x *expander) one(d declared, scope, parentType, parentName string, aliases []string) ([]*made, error) {
	if d.symbol != "" {
		aliases = append(aliases, d.symbol)
	}
	m := &made{at: d.at, aliases: aliases, skipped: d.existing}
	wanted, err := x.condition(d.at, d.tree)
	if err != nil {
		return nil, err
	}
	m.skipped = m.skipped || !wanted
	if err := x.name(m, d, &scope, parentType, parentName); err != nil {
		return nil, err
	}
	if m.dependsOn, err = x.dependencies(d); err != nil {
		return nil, err
	}
	if !m.skipped { // what is not made need not make sense
		if m.Body, err = x.body(d); err != nil {
			return nil, err
		}
	}
	all := []*made{m}
	if raw, ok := d.tree["resources"]; ok {
		children, err := declarations(d.at+".resources", raw)
		if err != nil {
			return nil, err
		}
		for _, c := range children {
			some, err := x.declared(c, scope, m.Type, m.Name)
			if err != nil {
				return nil, err
			}
			for _, s := range some {
				s.skipped = s.skipped || m.skipped
			}
			all = append(all, some...)
		}
	}
	return all, nil
}

// name evaluates what a resource is called and makes its id.
func (x *expander) name(m *made, d declared, scope *string, parentType, parentName string) error {
	for _, part := range []struct {
		member string
		into   *string
	}{{"type", &m.Type}, {"name", &m.Name}, {"apiVersion", &m.APIVersion}} {
		v, err := x.tree(d.at+"."+part.member, d.tree[part.member])
		if err != nil {
			return err
		}
		s, ok := v.(string)
		if !ok || s == "" {
			return errorf(d.at+"."+part.member, "a resource has a %s", part.member)
		}
		*part.into = s
	}
	if parentType != "" && !strings.HasPrefix(strings.ToLower(m.Type), strings.ToLower(parentType)+"/") {
		m.Type, m.Name = parentType+"/"+m.Type, parentName+"/"+m.Name
	}
	if raw, ok := d.tree["scope"]; ok {
		v, err := x.tree(d.at+".scope", raw)
		if err != nil {
			return err
		}
		s, ok := v.(string)
		if !ok {
			return errorf(d.at+".scope", "%s is no resource", show(v))
		}
		if *scope = s; !strings.HasPrefix(s, "/") {
			if *scope, ok = x.relative(s); !ok {
				return errorf(d.at+".scope", "%q is no resource", s)
			}
		}
	}
	base := *scope
	if base == "" {
		base = x.env.scope()
	}
	var ok bool
	if m.ID, ok = resourceAt(base, m.Type, m.Name); !ok {
		return errorf(d.at+".name", "the name %q does not fit the type %q: there is one name for each part of the type behind the first", m.Name, m.Type)
	}
	return nil
}

// resourceAt is the id of a resource at a scope. An older way to write one that
// extends another is the type NS/type/providers/extension with the name
// parent/NS2/name.
func resourceAt(scope, typ, name string) (string, bool) {
	// A group's id is another than that of its type.
	if strings.EqualFold(typ, "Microsoft.Resources/resourceGroups") && !strings.Contains(name, "/") && name != "" {
		return scope + "/resourceGroups/" + name, !strings.Contains(strings.ToLower(scope), "/resourcegroups/")
	}
	types, names := strings.Split(typ, "/"), strings.Split(name, "/")
	at := -1
	for i, t := range types {
		if strings.EqualFold(t, "providers") {
			at = i
		}
	}
	if at < 0 {
		return joinID(scope, typ, names)
	}
	if at-1 >= len(names) || at+1 >= len(types) {
		return "", false
	}
	of, ok := joinID(scope, strings.Join(types[:at], "/"), names[:at-1])
	if !ok {
		return "", false
	}
	return joinID(of, names[at-1]+"/"+strings.Join(types[at+1:], "/"), names[at:])
}

// relative is the id of a resource given as type and names in turn:
// Microsoft.RecoveryServices/vaults/safe.
func (x *expander) relative(s string) (string, bool) {
	parts := strings.Split(s, "/")
	if len(parts) < 3 || len(parts)%2 == 0 {
		return "", false
	}
	typ, names := parts[0], []string(nil)
	for i := 1; i < len(parts); i += 2 {
		typ, names = typ+"/"+parts[i], append(names, parts[i+1])
	}
	return joinID(x.env.scope(), typ, names)
}

func (x *expander) dependencies(d declared) ([]string, error) {
	raw, ok := d.tree["dependsOn"]
	if !ok {
		return nil, nil
	}
	v, err := x.tree(d.at+".dependsOn", raw)
	if err != nil {
		return nil, err
	}
	list, ok := v.([]any)
	if !ok {
		return nil, errorf(d.at+".dependsOn", "it is no list")
	}
	words, err := texts(list)
	if err != nil {
		return nil, errorf(d.at+".dependsOn", "%v", err)
	}
	return words, nil
}

// ofTemplate are the members of a resource that are for the template only.
var ofTemplate = []string{"type", "name", "apiVersion", "dependsOn", "condition", "copy", "comments", "resources", "scope", "existing", "metadata"}

// notOfTemplate are members that would change where a resource goes, and that
// are of nested templates.
var notOfTemplate = []string{"resourceGroup", "subscriptionId", "import", "extension"}

// body is what is sent to make the resource.
func (x *expander) body(d declared) (json.RawMessage, error) {
	rest := map[string]any{}
	for _, member := range sorted(d.tree) {
		if known(member, notOfTemplate...) {
			return nil, errorf(d.at+"."+member, "a resource of another group or subscription is not offered")
		}
		if !known(member, ofTemplate...) {
			rest[member] = d.tree[member]
		}
	}
	v, err := x.tree(d.at, rest)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.at, err)
	}
	return b, nil
}

// order puts each resource behind what it depends on; otherwise they stay in
// the template's order.
func order(all []*made) ([]Resource, error) {
	called := callsOf(all)
	needs := make([][]int, len(all))
	for i, m := range all {
		slices.Sort(m.dependsOn)
		for _, word := range slices.Compact(m.dependsOn) {
			found := called.find(word)
			if len(found) == 0 && !m.skipped {
				return nil, errorf(m.at+".dependsOn", "the template has no resource %q", word)
			}
			needs[i] = append(needs[i], found...)
		}
		// A child needs what it lies in, when the template makes that.
		for id := strings.ToLower(m.ID); strings.Contains(id, "/"); {
			id = id[:strings.LastIndexByte(id, '/')]
			needs[i] = append(needs[i], called.exact[id]...)
		}
	}
	at := make([]int, len(all)) // in out, from 1; -1 while its needs are being put
	var out []Resource
	var put func(i int, way []string) error
	put = func(i int, way []string) error {
		m := all[i]
		switch {
		case at[i] > 0 || m.skipped:
			return nil
		case at[i] < 0:
			return errorf(m.at+".dependsOn", "the resources depend on each other in a circle: %s", strings.Join(append(way, m.ID), " -> "))
		}
		at[i] = -1
		for _, n := range needs[i] {
			if err := put(n, append(way, m.ID)); err != nil {
				return err
			}
			if at[n] > 0 && !slices.Contains(m.DependsOn, at[n]-1) {
				m.DependsOn = append(m.DependsOn, at[n]-1)
			}
		}
		out = append(out, m.Resource)
		at[i] = len(out)
		return nil
	}
	for i := range all {
		if err := put(i, nil); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// calls is what resources are called by, in lower case: exactly, and by name only.
type calls struct{ exact, byName map[string][]int }

func callsOf(all []*made) calls {
	c := calls{map[string][]int{}, map[string][]int{}}
	for i, m := range all {
		id, name := strings.ToLower(m.ID), strings.ToLower(m.Name)
		c.exact[id] = append(c.exact[id], i)
		for _, a := range m.aliases {
			c.exact[strings.ToLower(a)] = append(c.exact[strings.ToLower(a)], i)
		}
		// From a provider on: Microsoft.Compute/disks/d.
		for rest, more := id, true; more; {
			if _, rest, more = strings.Cut(rest, "/providers/"); more {
				c.exact[rest] = append(c.exact[rest], i)
			}
		}
		c.byName[name] = append(c.byName[name], i)
		if last := name[strings.LastIndexByte(name, '/')+1:]; last != name {
			c.byName[last] = append(c.byName[last], i)
		}
	}
	return c
}

// find is what a word of dependsOn means: an id, whole or from the provider on,
// a loop's name or a symbol; if nothing is called so, a resource's name or the
// last part of it.
func (c calls) find(word string) []int {
	word = strings.ToLower(word)
	if found := c.exact[word]; len(found) > 0 {
		return found
	}
	return c.byName[word]
}
