package template

import (
	"fmt"
	"math"
	"strings"
)

// function is one function of the template language
// (learn.microsoft.com/azure/azure-resource-manager/templates/template-functions).
type function struct {
	least, most int // arguments
	do          func(x *expander, args []any) (any, error)
}

func (f function) arity() string {
	switch {
	case f.least == f.most && f.least == 1:
		return "1 argument"
	case f.least == f.most:
		return fmt.Sprintf("%d arguments", f.least)
	case f.most == many:
		return fmt.Sprintf("at least %d arguments", f.least)
	}
	return fmt.Sprintf("%d to %d arguments", f.least, f.most)
}

// many is as many arguments as a call may have.
const many = 1 << 20

// functions are those that are given their arguments' values.
var functions map[string]function

// lazyFunctions evaluate only the arguments that they need.
var lazyFunctions map[string]func(x *expander, n *node) (any, error)

// notOffered says of functions that Azure has why they are refused here.
var notOffered = map[string]string{
	"reference":         "it asks resources that exist, and a template is expanded before any is made",
	"pickzones":         "a site has no zones",
	"newguid":           "it may stand in a parameter's default value only",
	"utcnow":            "it may stand in a parameter's default value only",
	"datetimeadd":       "times are computed by who deploys",
	"providers":         "the api-versions are at /providers",
	"managementgroupid": "there are no management groups",
	"lambda":            "functions of functions are not there",
	"map":               "functions of functions are not there",
	"filter":            "functions of functions are not there",
	"reduce":            "functions of functions are not there",
	"sort":              "functions of functions are not there",
	"tolambda":          "functions of functions are not there",
}

func init() { // the tables and the evaluator name each other
	functions = map[string]function{}
	for _, part := range []map[string]function{valueFunctions, listFunctions, textFunctions, placeFunctions} {
		for name, f := range part {
			functions[name] = f
		}
	}
	lazyFunctions = map[string]func(*expander, *node) (any, error){"if": lazyIf, "and": lazyAnd, "or": lazyOr, "coalesce": lazyCoalesce, "newguid": lazyDefault, "utcnow": lazyDefault}
}

// lazyIf evaluates one branch only: the other may be about what is not there.
func lazyIf(x *expander, n *node) (any, error) {
	if len(n.args) != 3 {
		return nil, fmt.Errorf("if takes 3 arguments, not %d", len(n.args))
	}
	yes, err := x.truth(n.args[0])
	if err != nil {
		return nil, err
	}
	if yes {
		return x.eval(n.args[1])
	}
	return x.eval(n.args[2])
}

func (x *expander) truth(n *node) (bool, error) {
	v, err := x.eval(n)
	if err != nil {
		return false, err
	}
	b, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("%s is neither true nor false", show(v))
	}
	return b, nil
}

func lazyAnd(x *expander, n *node) (any, error) { return x.until(n, false) }
func lazyOr(x *expander, n *node) (any, error)  { return x.until(n, true) }

// until is end as soon as one argument is, and its opposite if none is.
func (x *expander) until(n *node, end bool) (any, error) {
	if len(n.args) < 2 {
		return nil, fmt.Errorf("%s takes at least 2 arguments, not %d", n.text, len(n.args))
	}
	for _, a := range n.args {
		b, err := x.truth(a)
		if err != nil || b == end {
			return b, err
		}
	}
	return !end, nil
}

func lazyCoalesce(x *expander, n *node) (any, error) {
	if len(n.args) == 0 {
		return nil, fmt.Errorf("coalesce takes at least 1 argument, not 0")
	}
	for _, a := range n.args {
		v, err := x.eval(a)
		if err != nil || v != nil {
			return v, err
		}
	}
	return nil, nil
}

// lazyDefault is newGuid and utcNow, which give something new each time.
func lazyDefault(x *expander, n *node) (any, error) {
	name := strings.ToLower(n.text)
	if !x.inDefault {
		return nil, fmt.Errorf("the function %s is not offered: %s", n.text, notOffered[name])
	}
	args := make([]any, len(n.args))
	for i, a := range n.args {
		var err error
		if args[i], err = x.eval(a); err != nil {
			return nil, err
		}
	}
	return newValue(x, name, args)
}

// valueFunctions are about truth, numbers and kinds of values.
var valueFunctions = map[string]function{
	"true":            {0, 0, constant(true)},
	"false":           {0, 0, constant(false)},
	"null":            {0, 0, constant(nil)},
	"not":             {1, 1, func(_ *expander, a []any) (any, error) { b, err := truthOf(a[0]); return !b, err }},
	"bool":            {1, 1, toBool},
	"int":             {1, 1, toInt},
	"float":           {1, 1, toFloat},
	"equals":          {2, 2, func(_ *expander, a []any) (any, error) { return same(a[0], a[1]), nil }},
	"less":            {2, 2, compare(func(c int) bool { return c < 0 })},
	"lessorequals":    {2, 2, compare(func(c int) bool { return c <= 0 })},
	"greater":         {2, 2, compare(func(c int) bool { return c > 0 })},
	"greaterorequals": {2, 2, compare(func(c int) bool { return c >= 0 })},
	"add":             {2, 2, arithmetic(func(a, b int64) (int64, bool) { c := a + b; return c, (c > a) == (b > 0) })},
	"sub":             {2, 2, arithmetic(func(a, b int64) (int64, bool) { c := a - b; return c, (c < a) == (b > 0) })},
	"mul":             {2, 2, arithmetic(multiply)},
	"div":             {2, 2, arithmetic(func(a, b int64) (int64, bool) { return a / nonzero(b), b != 0 && !(a == math.MinInt64 && b == -1) })},
	"mod":             {2, 2, arithmetic(func(a, b int64) (int64, bool) { return a % nonzero(b), b != 0 })},
	"copyindex":       {0, 2, copyIndex},
}

func constant(v any) func(*expander, []any) (any, error) {
	return func(*expander, []any) (any, error) { return v, nil }
}

func truthOf(v any) (bool, error) {
	b, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("%s is neither true nor false", show(v))
	}
	return b, nil
}

func toBool(_ *expander, a []any) (any, error) {
	switch v := a[0].(type) {
	case bool:
		return v, nil
	case int64:
		return v != 0, nil
	case string:
		if strings.EqualFold(v, "true") || v == "1" {
			return true, nil
		}
		if strings.EqualFold(v, "false") || v == "0" {
			return false, nil
		}
	}
	return nil, fmt.Errorf("%s is neither true nor false", show(a[0]))
}

func toInt(_ *expander, a []any) (any, error) {
	switch v := a[0].(type) {
	case int64:
		return v, nil
	case float64:
		if v >= -1<<53 && v <= 1<<53 {
			return int64(v), nil
		}
	case string:
		var n int64
		if _, err := fmt.Sscanf(v+"\n", "%d\n", &n); err == nil {
			return n, nil
		}
	}
	return nil, fmt.Errorf("%s is not a whole number", show(a[0]))
}

func toFloat(_ *expander, a []any) (any, error) {
	switch v := a[0].(type) {
	case int64:
		return float64(v), nil
	case float64:
		return v, nil
	case string:
		var n float64
		if _, err := fmt.Sscanf(v+"\n", "%g\n", &n); err == nil && !math.IsInf(n, 0) && !math.IsNaN(n) {
			return n, nil
		}
	}
	return nil, fmt.Errorf("%s is not a number", show(a[0]))
}

// same compares values as equals does: strings with their case.
func same(a, b any) bool {
	switch a := a.(type) {
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !same(a[i], b[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for name, v := range a {
			w, ok := b[name]
			if !ok || !same(v, w) {
				return false
			}
		}
		return true
	}
	switch b.(type) {
	case []any, map[string]any:
		return false
	}
	return a == b
}

// compare orders two whole numbers or two strings.
func compare(holds func(int) bool) func(*expander, []any) (any, error) {
	return func(_ *expander, a []any) (any, error) {
		x, isNumber := a[0].(int64)
		y, areNumbers := a[1].(int64)
		if isNumber && areNumbers {
			switch {
			case x < y:
				return holds(-1), nil
			case x > y:
				return holds(1), nil
			}
			return holds(0), nil
		}
		s, isText := a[0].(string)
		t, areTexts := a[1].(string)
		if !isText || !areTexts {
			return nil, fmt.Errorf("%s and %s cannot be compared", show(a[0]), show(a[1]))
		}
		return holds(strings.Compare(s, t)), nil
	}
}

// arithmetic computes with two whole numbers; f says whether the result is one.
func arithmetic(f func(a, b int64) (int64, bool)) func(*expander, []any) (any, error) {
	return func(_ *expander, args []any) (any, error) {
		a, ok := args[0].(int64)
		b, both := args[1].(int64)
		if !ok || !both {
			return nil, fmt.Errorf("%s and %s are not both whole numbers", show(args[0]), show(args[1]))
		}
		c, ok := f(a, b)
		if !ok {
			return nil, fmt.Errorf("the result for %d and %d is no whole number of 64 bits", a, b)
		}
		return c, nil
	}
}

func multiply(a, b int64) (int64, bool) {
	c := a * b
	return c, a == 0 || c/a == b && !(a == -1 && b == math.MinInt64)
}

func nonzero(b int64) int64 {
	if b == 0 {
		return 1
	}
	return b
}

// copyIndex is the number of a loop's turn: of the loop of the resource, or of
// the one that is named; with an offset.
func copyIndex(x *expander, a []any) (any, error) {
	var name string
	var offset int64
	for i, v := range a {
		switch v := v.(type) {
		case string:
			if name = v; i > 0 {
				return nil, fmt.Errorf("the loop's name comes first")
			}
		case int64:
			offset = v
		default:
			return nil, fmt.Errorf("%s is neither a loop's name nor an offset", show(v))
		}
	}
	for i := len(x.loops) - 1; i >= 0; i-- {
		l := x.loops[i]
		if strings.EqualFold(l.name, name) || name == "" && !l.ofProperty {
			return l.index + offset, nil
		}
	}
	if name == "" {
		return nil, fmt.Errorf("it stands in no loop of a resource")
	}
	return nil, fmt.Errorf("it stands in no loop %q", name)
}
