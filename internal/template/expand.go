package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// expander evaluates one template.
type expander struct {
	doc   document
	env   Env
	given map[string]any     // parameters, by the template's name
	known map[string]*cached // parameters and variables that were evaluated
	cost  int                // spent, of maxCost

	loops []loop // that are being counted, the innermost last
	// inDefault: a parameter's default may be new each time (newGuid, utcNow).
	inDefault bool
}

// cached is a value, or the fact that it is being made.
type cached struct {
	value any
	done  bool
}

// loop is a copy that is being counted.
type loop struct {
	name  string
	index int64
	// of properties: copyIndex must name it
	ofProperty bool
}

func newExpander(doc document, env Env) *expander {
	return &expander{doc: doc, env: env, given: map[string]any{}, known: map[string]*cached{}}
}

var errTooLarge = errors.New("the template becomes too large when it is expanded")

// spend counts what a value costs; it ends a template that grows without bound.
func (x *expander) spend(v any) error {
	n := weigh(v, maxCost-x.cost)
	if x.cost += n; x.cost > maxCost {
		return errTooLarge
	}
	return nil
}

// work counts comparisons, which cost less than what is kept.
func (x *expander) work(n int) error {
	if x.cost += n / 16; x.cost > maxCost {
		return errTooLarge
	}
	return nil
}

// weigh is the size of a value in bytes and members, counted no further than
// just over a limit.
func weigh(v any, limit int) int {
	n := 1
	switch v := v.(type) {
	case string:
		n += len(v)
	case []any:
		for _, e := range v {
			if n += weigh(e, limit-n); n > limit {
				break
			}
		}
	case map[string]any:
		for name, e := range v {
			if n += len(name) + weigh(e, limit-n); n > limit {
				break
			}
		}
	}
	return n
}

// once evaluates a parameter or a variable the first time it is asked for.
func (x *expander) once(key string, make func() (any, error)) (any, error) {
	c := x.known[key]
	switch {
	case c != nil && c.done:
		return c.value, nil
	case c != nil:
		return nil, fmt.Errorf("%s needs itself", key)
	}
	c = &cached{}
	x.known[key] = c
	// What it is made of does not count the loops of who asks.
	loops := x.loops
	x.loops = nil
	v, err := make()
	x.loops = loops
	if err != nil {
		delete(x.known, key)
		return nil, err
	}
	c.value, c.done = v, true
	return v, nil
}

// fold finds a member by its name in any case, as ARM does.
func fold(m map[string]any, name string) (string, any, bool) {
	if v, ok := m[name]; ok {
		return name, v, true
	}
	for _, key := range sorted(m) { // in an order, so that the same is found each time
		if strings.EqualFold(key, name) {
			return key, m[key], true
		}
	}
	return "", nil, false
}

func sorted[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

// variable is the value of a variable.
func (x *expander) variable(name string) (any, error) {
	key, raw, ok := fold(x.doc.variables, name)
	if !ok {
		if _, copies, isCopy := fold(x.doc.variables, "copy"); isCopy {
			if v, found, err := x.copiedVariable(copies, name); found || err != nil {
				return v, err
			}
		}
		return nil, fmt.Errorf("there is no variable %q", name)
	}
	if strings.EqualFold(key, "copy") {
		if _, isList := raw.([]any); isList { // the loops that make variables
			return x.once("variables.copy", func() (any, error) { return x.tree("variables", map[string]any{"copy": raw}) })
		}
	}
	return x.once("variables."+key, func() (any, error) { return x.tree("variables."+key, raw) })
}

// copiedVariable is a variable that a loop beside the others makes.
func (x *expander) copiedVariable(copies any, name string) (any, bool, error) {
	if _, isList := copies.([]any); !isList {
		return nil, false, nil
	}
	made, err := x.variable("copy")
	if err != nil {
		return nil, false, err
	}
	m, _ := made.(map[string]any)
	_, v, ok := fold(m, name)
	return v, ok, nil
}

// tree evaluates every string of a value, with the loops of properties.
func (x *expander) tree(at string, v any) (any, error) {
	switch v := v.(type) {
	case string:
		return x.text(at, v)
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			var err error
			if out[i], err = x.tree(fmt.Sprintf("%s[%d]", at, i), e); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		return x.object(at, v)
	}
	return v, nil
}

func (x *expander) object(at string, m map[string]any) (any, error) {
	out := map[string]any{}
	for _, name := range sorted(m) {
		if copies, isList := m[name].([]any); isList && strings.EqualFold(name, "copy") && areLoops(copies) {
			if err := x.copyProperties(at+"."+name, copies, out); err != nil {
				return nil, err
			}
			continue
		}
		key, err := x.text(at, name)
		if err != nil {
			return nil, err
		}
		text, ok := key.(string)
		if !ok {
			return nil, errorf(at, "the member name %q is no string", name)
		}
		if out[text], err = x.tree(at+"."+name, m[name]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// areLoops says whether a list called copy is a list of loops.
func areLoops(list []any) bool {
	for _, e := range list {
		m, _ := e.(map[string]any)
		if m["name"] == nil || m["count"] == nil {
			return false
		}
	}
	return len(list) > 0
}

// copyProperties makes a list of each loop: {name, count, input}.
func (x *expander) copyProperties(at string, copies []any, out map[string]any) error {
	for i, c := range copies {
		at := fmt.Sprintf("%s[%d]", at, i)
		m, _ := c.(map[string]any)
		name, _ := m["name"].(string)
		input, ok := m["input"]
		if name == "" || !ok {
			return errorf(at, "a loop of properties has a name, a count and an input")
		}
		n, err := x.count(at, m["count"])
		if err != nil {
			return err
		}
		all := make([]any, 0, n)
		for index := range n {
			x.loops = append(x.loops, loop{name, index, true})
			v, err := x.tree(at+".input", input)
			x.loops = x.loops[:len(x.loops)-1]
			if err != nil {
				return err
			}
			if all = append(all, v); x.cost > maxCost {
				return errorf(at, "%v", errTooLarge)
			}
		}
		out[name] = all
	}
	return nil
}

// count is how often a loop runs.
func (x *expander) count(at string, raw any) (int64, error) {
	v, err := x.tree(at+".count", raw)
	if err != nil {
		return 0, err
	}
	n, ok := v.(int64)
	if !ok || n < 0 || n > maxCopies {
		return 0, errorf(at+".count", "the count is %s; it is a whole number from 0 to %d", show(v), maxCopies)
	}
	return n, nil
}

// text evaluates a string.
func (x *expander) text(at, s string) (any, error) {
	if !isExpression(s) {
		if err := x.spend(s); err != nil {
			return nil, errorf(at, "%v", err)
		}
		return plain(s), nil
	}
	n, err := parse(s[1 : len(s)-1])
	if err != nil {
		return nil, errorf(at, "%v", err)
	}
	v, err := x.eval(n)
	if mine := placed(err); mine != nil { // the place of the mistake, not of who asked
		return nil, mine
	}
	if err != nil {
		return nil, errorf(at, "%v", err)
	}
	return v, nil
}

// show is a value in a message, cut short.
func show(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "unprintable"
	}
	if len(b) > 60 {
		b = append(b[:57], "..."...)
	}
	return string(b)
}

// eval evaluates a parsed expression.
func (x *expander) eval(n *node) (v any, err error) {
	switch n.kind {
	case literalNode:
		return n.text, nil
	case numberNode:
		return n.value, nil
	case memberNode, indexNode:
		v, err = x.member(n)
	case callNode:
		v, err = x.call(n)
	}
	if err == nil {
		err = x.spend(v)
	}
	return v, err
}

// member is a member of an object or an element of a list.
func (x *expander) member(n *node) (any, error) {
	of, err := x.eval(n.args[0])
	if err != nil {
		return nil, err
	}
	var key any = n.text
	if n.kind == indexNode {
		if key, err = x.eval(n.args[1]); err != nil {
			return nil, err
		}
	}
	v, ok := pick(of, key)
	if !ok {
		return nil, fmt.Errorf("%s has no %s", show(of), show(key))
	}
	return v, nil
}

// pick is what a list or an object has under a key.
func pick(of, key any) (any, bool) {
	switch of := of.(type) {
	case map[string]any:
		name, isText := key.(string)
		_, v, ok := fold(of, name)
		return v, ok && isText
	case []any:
		i, isNumber := key.(int64)
		if !isNumber || i < 0 || i >= int64(len(of)) {
			return nil, false
		}
		return of[i], true
	}
	return nil, false
}

// call evaluates a function. if and the like evaluate only what they need.
func (x *expander) call(n *node) (any, error) {
	name := strings.ToLower(n.text)
	if lazy, ok := lazyFunctions[name]; ok {
		return lazy(x, n)
	}
	f, ok := functions[name]
	if !ok {
		if hint, ok := notOffered[name]; ok {
			return nil, fmt.Errorf("the function %s is not offered: %s", n.text, hint)
		}
		if strings.HasPrefix(name, "list") {
			return nil, fmt.Errorf("the function %s is not offered: %s", n.text, notOffered["reference"])
		}
		return nil, fmt.Errorf("there is no function %s", n.text)
	}
	if len(n.args) < f.least || len(n.args) > f.most {
		return nil, fmt.Errorf("%s takes %s, not %d", n.text, f.arity(), len(n.args))
	}
	args := make([]any, len(n.args))
	for i, a := range n.args {
		var err error
		if args[i], err = x.eval(a); err != nil {
			return nil, err
		}
	}
	v, err := f.do(x, args)
	switch {
	case placed(err) != nil:
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%s: %w", n.text, err)
	}
	return v, nil
}

// placed is an error that says where it is; nil for others.
func placed(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}
