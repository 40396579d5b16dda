package template

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// listFunctions are about lists and objects, and what strings share with them.
var listFunctions = map[string]function{
	"concat":       {1, many, concat},
	"array":        {1, 1, func(_ *expander, a []any) (any, error) { return asList(a[0]), nil }},
	"createarray":  {0, many, func(_ *expander, a []any) (any, error) { return slices.Clone(a), nil }},
	"createobject": {0, many, createObject},
	"length":       {1, 1, func(_ *expander, a []any) (any, error) { return lengthOf(a[0]) }},
	"empty":        {1, 1, func(_ *expander, a []any) (any, error) { n, err := lengthOf(a[0]); return n == int64(0), err }},
	"first":        {1, 1, func(_ *expander, a []any) (any, error) { return end(a[0], true) }},
	"last":         {1, 1, func(_ *expander, a []any) (any, error) { return end(a[0], false) }},
	"take":         {2, 2, func(_ *expander, a []any) (any, error) { return part(a, true) }},
	"skip":         {2, 2, func(_ *expander, a []any) (any, error) { return part(a, false) }},
	"contains":     {2, 2, contains},
	"indexof":      {2, 2, func(_ *expander, a []any) (any, error) { return index(a, strings.Index, false) }},
	"lastindexof":  {2, 2, func(_ *expander, a []any) (any, error) { return index(a, strings.LastIndex, true) }},
	"range":        {2, 2, numbers},
	"min":          {1, many, extreme(func(a, b int64) bool { return a < b })},
	"max":          {1, many, extreme(func(a, b int64) bool { return a > b })},
	"union":        {1, many, union},
	"intersection": {1, many, intersection},
	"flatten":      {1, 1, flatten},
	"items":        {1, 1, members(func(name string, v any) any { return map[string]any{"key": name, "value": v} })},
	"objectkeys":   {1, 1, members(func(name string, _ any) any { return name })},
	"tryget":       {2, many, tryGet},
	"shallowmerge": {1, 1, shallowMerge},
}

// length is how many elements or members a value has; 0 of others.
func length(v any) int {
	switch v := v.(type) {
	case []any:
		return len(v)
	case map[string]any:
		return len(v)
	}
	return 0
}

func lengthOf(v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return int64(0), nil
	case string:
		return int64(utf8.RuneCountInString(v)), nil
	case []any, map[string]any:
		return int64(length(v)), nil
	}
	return nil, fmt.Errorf("%s has no length", show(v))
}

// concat joins lists, or the texts of everything else.
func concat(_ *expander, a []any) (any, error) {
	if _, isList := a[0].([]any); isList {
		out := []any{}
		for _, v := range a {
			list, ok := v.([]any)
			if !ok {
				return nil, fmt.Errorf("%s is no list, as the first argument is", show(v))
			}
			out = append(out, list...)
		}
		return out, nil
	}
	var b strings.Builder
	for _, v := range a {
		if length(v) > 0 {
			return nil, fmt.Errorf("%s is no string, as the first argument is", show(v))
		}
		s, err := asText(v)
		if err != nil {
			return nil, err
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

func asList(v any) any {
	if list, ok := v.([]any); ok {
		return list
	}
	return []any{v}
}

func createObject(_ *expander, a []any) (any, error) {
	if len(a)%2 != 0 {
		return nil, errors.New("it takes names and values in turn")
	}
	out := map[string]any{}
	for i := 0; i < len(a); i += 2 {
		name, err := text(a[i])
		if err != nil {
			return nil, err
		}
		out[name] = a[i+1]
	}
	return out, nil
}

// end is the first or the last element, or character.
func end(v any, first bool) (any, error) {
	switch v := v.(type) {
	case string:
		if first {
			_, n := utf8.DecodeRuneInString(v)
			return v[:n], nil
		}
		_, n := utf8.DecodeLastRuneInString(v)
		return v[len(v)-n:], nil
	case []any:
		switch {
		case len(v) == 0:
			return nil, nil
		case first:
			return v[0], nil
		}
		return v[len(v)-1], nil
	}
	return nil, fmt.Errorf("%s is neither a string nor a list", show(v))
}

// part is what take leaves, or what skip does.
func part(a []any, take bool) (any, error) {
	n, ok := a[1].(int64)
	if !ok {
		return nil, fmt.Errorf("%s is not a whole number", show(a[1]))
	}
	switch v := a[0].(type) {
	case string:
		n := min(max(n, 0), int64(len(v)))
		if take {
			return cut(v, 0, n)
		}
		return cut(v, n, int64(len(v)))
	case []any:
		n := min(max(n, 0), int64(len(v)))
		if take {
			return slices.Clone(v[:n]), nil
		}
		return slices.Clone(v[n:]), nil
	}
	return nil, fmt.Errorf("%s is neither a string nor a list", show(a[0]))
}

func contains(_ *expander, a []any) (any, error) {
	switch v := a[0].(type) {
	case string:
		part, err := asText(a[1])
		return strings.Contains(v, part), err
	case []any:
		return slices.ContainsFunc(v, func(e any) bool { return same(e, a[1]) }), nil
	case map[string]any:
		name, err := text(a[1])
		_, _, ok := fold(v, name)
		return ok, err
	}
	return nil, fmt.Errorf("%s is no string, list or object", show(a[0]))
}

// index is where something is found, -1 for nowhere; in strings without case.
func index(a []any, find func(s, sub string) int, last bool) (any, error) {
	if list, ok := a[0].([]any); ok {
		at := int64(-1)
		for i, e := range list {
			if same(e, a[1]) && (last || at < 0) {
				at = int64(i)
			}
		}
		return at, nil
	}
	s, err := texts(a)
	if err != nil {
		return nil, err
	}
	return int64(find(strings.ToLower(s[0]), strings.ToLower(s[1]))), nil
}

// maxRange is how many numbers a range has at most, as in Azure.
const maxRange = 10_000

func numbers(_ *expander, a []any) (any, error) {
	start, ok := a[0].(int64)
	n, both := a[1].(int64)
	if !ok || !both || n < 0 || n > maxRange || start > 1<<31 || start < -1<<31 {
		return nil, fmt.Errorf("it takes a start and a count of at most %d", maxRange)
	}
	out := make([]any, n)
	for i := range out {
		out[i] = start + int64(i)
	}
	return out, nil
}

func extreme(better func(a, b int64) bool) func(*expander, []any) (any, error) {
	return func(_ *expander, a []any) (any, error) {
		if list, ok := a[0].([]any); ok && len(a) == 1 {
			a = list
		}
		if len(a) == 0 {
			return nil, errors.New("there are no numbers")
		}
		var best int64
		for i, v := range a {
			n, ok := v.(int64)
			if !ok {
				return nil, fmt.Errorf("%s is not a whole number", show(v))
			}
			if i == 0 || better(n, best) {
				best = n
			}
		}
		return best, nil
	}
}

// union joins lists without doubles, or objects; of objects the later one counts,
// and objects in them are joined.
func union(x *expander, a []any) (any, error) {
	if _, isList := a[0].([]any); isList {
		out := []any{}
		for _, v := range a {
			list, ok := v.([]any)
			if !ok {
				return nil, fmt.Errorf("%s is no list, as the first argument is", show(v))
			}
			if err := x.work(len(list) * (len(out) + len(list))); err != nil {
				return nil, err
			}
			for _, e := range list {
				if !slices.ContainsFunc(out, func(o any) bool { return same(o, e) }) {
					out = append(out, e)
				}
			}
		}
		return out, nil
	}
	out := map[string]any{}
	for _, v := range a {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s is neither a list nor an object", show(v))
		}
		merge(out, m)
	}
	return out, nil
}

func merge(into, from map[string]any) {
	for name, v := range from {
		now, isObject := v.(map[string]any)
		was, wasObject := into[name].(map[string]any)
		if !isObject || !wasObject {
			into[name] = v
			continue
		}
		joined := maps.Clone(was)
		merge(joined, now)
		into[name] = joined
	}
}

func intersection(x *expander, a []any) (any, error) {
	if first, isList := a[0].([]any); isList {
		out := []any{}
		for _, e := range first {
			if err := x.work(len(first) + weigh(a[1:], maxCost)); err != nil {
				return nil, err
			}
			all := !slices.ContainsFunc(out, func(o any) bool { return same(o, e) })
			for _, v := range a[1:] {
				list, ok := v.([]any)
				if !ok {
					return nil, fmt.Errorf("%s is no list, as the first argument is", show(v))
				}
				all = all && slices.ContainsFunc(list, func(o any) bool { return same(o, e) })
			}
			if all {
				out = append(out, e)
			}
		}
		return out, nil
	}
	first, ok := a[0].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s is neither a list nor an object", show(a[0]))
	}
	out := maps.Clone(first)
	for _, v := range a[1:] {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s is no object, as the first argument is", show(v))
		}
		maps.DeleteFunc(out, func(name string, e any) bool { w, ok := m[name]; return !ok || !same(w, e) })
	}
	return out, nil
}

func flatten(_ *expander, a []any) (any, error) {
	list, ok := a[0].([]any)
	out := []any{}
	for _, v := range list {
		inner, isList := v.([]any)
		ok = ok && isList
		out = append(out, inner...)
	}
	if !ok {
		return nil, fmt.Errorf("%s is no list of lists", show(a[0]))
	}
	return out, nil
}

// members makes a list of an object's members, in the order of their names.
func members(of func(name string, v any) any) func(*expander, []any) (any, error) {
	return func(_ *expander, a []any) (any, error) {
		m, ok := a[0].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s is no object", show(a[0]))
		}
		out := []any{}
		for _, name := range sorted(m) {
			out = append(out, of(name, m[name]))
		}
		return out, nil
	}
}

// tryGet follows members and indexes, and is null where one is missing.
func tryGet(_ *expander, a []any) (any, error) {
	v := a[0]
	for _, key := range a[1:] {
		var ok bool
		if v, ok = pick(v, key); !ok {
			return nil, nil
		}
	}
	return v, nil
}

func shallowMerge(_ *expander, a []any) (any, error) {
	list, ok := a[0].([]any)
	out := map[string]any{}
	for _, v := range list {
		m, isObject := v.(map[string]any)
		ok = ok && isObject
		maps.Copy(out, m)
	}
	if !ok {
		return nil, fmt.Errorf("%s is no list of objects", show(a[0]))
	}
	return out, nil
}
