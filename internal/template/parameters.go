package template

import (
	"encoding/json"
	"fmt"
	"strings"
)

// give takes the values of parameters: {"name": {"value": v}}.
func (x *expander) give(parameters map[string]json.RawMessage) error {
	for _, name := range sorted(parameters) {
		at := "parameters." + name
		key, _, ok := fold(x.doc.parameters, name)
		if !ok {
			return errorf(at, "the template has no parameter %q; it has %s", name, orNone(sorted(x.doc.parameters)))
		}
		tree, err := Decode(parameters[name])
		if err != nil {
			return err
		}
		m, _ := tree.(map[string]any)
		if _, isReference := m["reference"]; isReference {
			return errorf(at, "a value from a key vault is not offered; give it as value")
		}
		v, ok := m["value"]
		if !ok {
			return errorf(at, "it has no value")
		}
		if _, twice := x.given[key]; twice {
			return errorf(at, "the parameter is given twice")
		}
		x.given[key] = v
		if err := x.spend(v); err != nil {
			return errorf(at, "%v", err)
		}
	}
	return nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// parameter is the value of a parameter, given or by default.
func (x *expander) parameter(name string) (any, error) {
	key, raw, ok := fold(x.doc.parameters, name)
	if !ok {
		return nil, fmt.Errorf("there is no parameter %q", name)
	}
	return x.once("parameters."+key, func() (any, error) {
		at := "parameters." + key
		d, ok := raw.(map[string]any)
		if !ok {
			return nil, errorf(at, "it is not an object")
		}
		for member := range d {
			if !known(member, "type", "defaultValue", "allowedValues", "minValue", "maxValue", "minLength", "maxLength", "metadata", "nullable") {
				return nil, errorf(at+"."+member, "a parameter has no member %q", member)
			}
		}
		v, given := x.given[key]
		standard, has := d["defaultValue"]
		nullable, _ := d["nullable"].(bool)
		switch {
		case !given && has:
			was := x.inDefault
			x.inDefault = true
			var err error
			v, err = x.tree(at+".defaultValue", standard)
			x.inDefault = was
			if err != nil {
				return nil, err
			}
		case !given && !nullable:
			return nil, errorf(at, "the parameter has no value: it is not given and has no defaultValue")
		}
		if v == nil && nullable {
			return nil, nil
		}
		return v, check(at, d, v)
	})
}

func known(name string, names ...string) bool {
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// kindOf is a declared type, in lower case and without secure.
func kindOf(at string, d map[string]any) (kind string, secure bool, err error) {
	word, _ := d["type"].(string)
	kind, secure = strings.CutPrefix(strings.ToLower(word), "secure")
	if !known(kind, "string", "int", "bool", "object", "array") || secure && !known(kind, "string", "object") {
		return "", false, errorf(at+".type", "the type %q is none of string, secureString, int, bool, object, secureObject and array", word)
	}
	return kind, secure, nil
}

// check holds a value to what its parameter demands. The value is not repeated:
// it may be secret.
func check(at string, d map[string]any, v any) error {
	kind, secure, err := kindOf(at, d)
	if err != nil {
		return err
	}
	size, ok := int64(length(v)), false
	switch v := v.(type) {
	case string:
		n, _ := lengthOf(v)
		size, ok = n.(int64), kind == "string"
	case int64:
		size, ok = v, kind == "int"
	case bool:
		ok = kind == "bool"
	case map[string]any:
		ok = kind == "object"
	case []any:
		ok = kind == "array"
	}
	if !ok {
		return errorf(at, "the value is not of the type %s", kind)
	}
	if allowed, isList := d["allowedValues"].([]any); isList {
		found := false
		for _, a := range allowed {
			found = found || same(a, v)
		}
		if !found && secure {
			return errorf(at, "the value is none of allowedValues")
		}
		if !found {
			return errorf(at, "the value %s is none of allowedValues: %s", show(v), show(allowed))
		}
	}
	return checkBounds(at, d, kind, size)
}

func checkBounds(at string, d map[string]any, kind string, size int64) error {
	least, most, what := "minLength", "maxLength", "length"
	if kind == "int" {
		least, most, what = "minValue", "maxValue", "value"
	}
	if n, ok := d[least].(int64); ok && size < n {
		return errorf(at, "its %s is %d, and %s is %d", what, size, least, n)
	}
	if n, ok := d[most].(int64); ok && size > n {
		return errorf(at, "its %s is %d, and %s is %d", what, size, most, n)
	}
	return nil
}

// allParameters evaluates every parameter, and gives them as a deployment shows
// them: secure ones without their value.
func (x *expander) allParameters() (map[string]Value, error) {
	out := map[string]Value{}
	for _, name := range sorted(x.doc.parameters) {
		v, err := x.parameter(name)
		if err != nil {
			return nil, err
		}
		d, _ := x.doc.parameters[name].(map[string]any)
		kind, secure, err := kindOf("parameters."+name, d)
		if err != nil {
			return nil, err
		}
		out[name] = shown(kind, secure, v)
	}
	return out, nil
}

func shown(kind string, secure bool, v any) Value {
	word := map[string]string{"string": "String", "int": "Int", "bool": "Bool", "object": "Object", "array": "Array"}[kind]
	if secure {
		return Value{Type: "Secure" + word}
	}
	return Value{Type: word, Value: v}
}

// outputs evaluates the outputs whose condition holds.
func (x *expander) outputs() (map[string]Value, error) {
	out := map[string]Value{}
	for _, name := range sorted(x.doc.outputs) {
		at := "outputs." + name
		d, ok := x.doc.outputs[name].(map[string]any)
		if !ok {
			return nil, errorf(at, "it is not an object")
		}
		kind, secure, err := kindOf(at, d)
		if err != nil {
			return nil, err
		}
		if wanted, err := x.condition(at, d); err != nil || !wanted {
			if err != nil {
				return nil, err
			}
			continue
		}
		if _, loops := d["copy"]; loops {
			return nil, errorf(at+".copy", "a loop of outputs is not offered")
		}
		v, err := x.tree(at+".value", d["value"])
		if err != nil {
			return nil, err
		}
		if err := check(at, map[string]any{"type": d["type"]}, v); err != nil {
			return nil, err
		}
		out[name] = shown(kind, secure, v)
	}
	return out, nil
}

// condition says whether a resource or an output is wanted.
func (x *expander) condition(at string, d map[string]any) (bool, error) {
	raw, ok := d["condition"]
	if !ok {
		return true, nil
	}
	v, err := x.tree(at+".condition", raw)
	if err != nil {
		return false, err
	}
	yes, isBool := v.(bool)
	if !isBool {
		return false, errorf(at+".condition", "%s is neither true nor false", show(v))
	}
	return yes, nil
}
