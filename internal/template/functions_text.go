package template

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
)

// textFunctions are about strings.
var textFunctions = map[string]function{
	"string":               {1, 1, toText},
	"tolower":              {1, 1, onText(strings.ToLower)},
	"toupper":              {1, 1, onText(strings.ToUpper)},
	"trim":                 {1, 1, onText(strings.TrimSpace)},
	"uricomponent":         {1, 1, onText(escape)},
	"base64":               {1, 1, onText(func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) })},
	"base64tostring":       {1, 1, fromBase64},
	"base64tojson":         {1, 1, func(x *expander, a []any) (any, error) { return then(x, a, fromBase64, fromJSON) }},
	"json":                 {1, 1, fromJSON},
	"uricomponenttostring": {1, 1, unescape},
	"uri":                  {2, 2, joinURI},
	"replace":              {3, 3, replace},
	"startswith":           {2, 2, onTexts(func(s, t string) any { return strings.HasPrefix(strings.ToLower(s), strings.ToLower(t)) })},
	"endswith":             {2, 2, onTexts(func(s, t string) any { return strings.HasSuffix(strings.ToLower(s), strings.ToLower(t)) })},
	"substring":            {2, 3, substring},
	"split":                {2, 2, split},
	"join":                 {2, 2, join},
	"padleft":              {2, 3, padLeft},
	"format":               {1, many, format},
	"guid":                 {1, many, guid},
	"uniquestring":         {1, many, uniqueString},
}

// text is an argument that must be a string.
func text(v any) (string, error) {
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("%s is no string", show(v))
	}
	return s, nil
}

func texts(args []any) ([]string, error) {
	all := make([]string, len(args))
	for i, a := range args {
		var err error
		if all[i], err = text(a); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func onText(f func(string) string) func(*expander, []any) (any, error) {
	return func(_ *expander, a []any) (any, error) {
		s, err := text(a[0])
		if err != nil {
			return nil, err
		}
		return f(s), nil
	}
}

func onTexts(f func(s, t string) any) func(*expander, []any) (any, error) {
	return func(_ *expander, a []any) (any, error) {
		s, err := texts(a)
		if err != nil {
			return nil, err
		}
		return f(s[0], s[1]), nil
	}
}

// then applies one function after another.
func then(x *expander, a []any, first, second func(*expander, []any) (any, error)) (any, error) {
	v, err := first(x, a)
	if err != nil {
		return nil, err
	}
	return second(x, []any{v})
}

// asText is a value as concat, format and string write it.
func asText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case nil:
		return "", nil
	case bool:
		if v {
			return "True", nil
		}
		return "False", nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	}
	b, err := json.Marshal(v)
	return string(b), err
}

func toText(_ *expander, a []any) (any, error) { return asText(a[0]) }

func fromBase64(_ *expander, a []any) (any, error) {
	s, err := text(a[0])
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || !utf8.Valid(b) {
		return nil, fmt.Errorf("%s is not text in base64", show(s))
	}
	return string(b), nil
}

func fromJSON(_ *expander, a []any) (any, error) {
	s, err := text(a[0])
	if err != nil {
		return nil, err
	}
	v, err := Decode([]byte(s))
	if err != nil {
		return nil, fmt.Errorf("%s is not JSON", show(s))
	}
	return v, nil
}

// escape is the escaping of a URI's component (RFC 3986, 2.3): a space is %20.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func unescape(_ *expander, a []any) (any, error) {
	s, err := text(a[0])
	if err != nil {
		return nil, err
	}
	plain, err := url.PathUnescape(s)
	if err != nil {
		return nil, fmt.Errorf("%s has a broken escape", show(s))
	}
	return plain, nil
}

func joinURI(_ *expander, a []any) (any, error) {
	s, err := texts(a)
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(s[0])
	if err != nil {
		return nil, fmt.Errorf("%s is not a URI", show(s[0]))
	}
	u, err := base.Parse(s[1])
	if err != nil {
		return nil, fmt.Errorf("%s is not a URI", show(s[1]))
	}
	return u.String(), nil
}

func replace(x *expander, a []any) (any, error) {
	s, err := texts(a)
	if err != nil {
		return nil, err
	}
	if s[1] == "" {
		return nil, fmt.Errorf("nothing cannot be replaced")
	}
	if n := strings.Count(s[0], s[1]) * len(s[2]); n > maxCost { // before it is made
		return nil, fmt.Errorf("the result is too large")
	}
	return strings.ReplaceAll(s[0], s[1], s[2]), nil
}

func substring(_ *expander, a []any) (any, error) {
	s, err := text(a[0])
	if err != nil {
		return nil, err
	}
	start, length, err := span(a[1:], int64(len(s)))
	if err != nil {
		return nil, err
	}
	return cut(s, start, start+length)
}

// span is a start and, if it is given, a length, within a size.
func span(a []any, size int64) (start, length int64, err error) {
	start, ok := a[0].(int64)
	length = size - start
	if len(a) > 1 && ok {
		length, ok = a[1].(int64)
	}
	if !ok || start < 0 || length < 0 || start > size || length > size-start {
		return 0, 0, fmt.Errorf("%s does not lie within a length of %d", show(a), size)
	}
	return start, length, nil
}

// cut is a part of a string, which must not cut a character.
func cut(s string, from, to int64) (any, error) {
	part := s[from:to]
	if !utf8.ValidString(part) {
		return nil, fmt.Errorf("%d to %d cuts a character of %s", from, to, show(s))
	}
	return part, nil
}

func split(_ *expander, a []any) (any, error) {
	s, err := text(a[0])
	if err != nil {
		return nil, err
	}
	seps := []any{a[1]}
	if list, ok := a[1].([]any); ok {
		seps = list
	}
	marks, err := texts(seps)
	if err != nil {
		return nil, err
	}
	for _, m := range marks {
		if m == "" {
			return nil, fmt.Errorf("nothing cannot separate")
		}
		s = strings.ReplaceAll(s, m, "\x00")
		if len(s) > maxCost {
			return nil, fmt.Errorf("the result is too large")
		}
	}
	out := []any{}
	for part := range strings.SplitSeq(s, "\x00") {
		out = append(out, part)
	}
	return out, nil
}

func join(_ *expander, a []any) (any, error) {
	all, ok := a[0].([]any)
	sep, err := text(a[1])
	if err != nil || !ok {
		return nil, fmt.Errorf("it takes a list and a string")
	}
	parts, size := make([]string, len(all)), 0
	for i, v := range all {
		if parts[i], err = asText(v); err != nil {
			return nil, err
		}
		if size += len(parts[i]) + len(sep); size > maxCost {
			return nil, fmt.Errorf("the result is too large")
		}
	}
	return strings.Join(parts, sep), nil
}

func padLeft(_ *expander, a []any) (any, error) {
	s, err := asText(a[0])
	if err != nil {
		return nil, err
	}
	width, ok := a[1].(int64)
	pad := " "
	if len(a) > 2 {
		if pad, err = text(a[2]); err != nil {
			return nil, err
		}
	}
	if !ok || width < 0 || width > maxExpression || utf8.RuneCountInString(pad) != 1 {
		return nil, fmt.Errorf("it takes a width of at most %d and one character", maxExpression)
	}
	return strings.Repeat(pad, max(0, int(width)-utf8.RuneCountInString(s))) + s, nil
}

// format puts arguments in the place of {0}, {1}…; {0:N3} and the like are
// written as {0}, but for D (digits of a whole number).
func format(_ *expander, a []any) (any, error) {
	s, err := text(a[0])
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for rest := s; rest != ""; {
		i := strings.IndexAny(rest, "{}")
		if i < 0 {
			b.WriteString(rest)
			break
		}
		b.WriteString(rest[:i])
		if strings.HasPrefix(rest[i:], "{{") || strings.HasPrefix(rest[i:], "}}") {
			b.WriteByte(rest[i])
			rest = rest[i+2:]
			continue
		}
		end := strings.IndexByte(rest[i:], '}')
		if rest[i] == '}' || end < 0 {
			return nil, fmt.Errorf("%s has a brace without another", show(s))
		}
		if err := place(&b, rest[i+1:i+end], a[1:]); err != nil {
			return nil, err
		}
		if b.Len() > maxCost {
			return nil, fmt.Errorf("the result is too large")
		}
		rest = rest[i+end+1:]
	}
	return b.String(), nil
}

// place writes the argument that a placeholder names.
func place(b *strings.Builder, hole string, args []any) error {
	which, form, _ := strings.Cut(hole, ":")
	n, err := strconv.Atoi(which)
	if err != nil || n < 0 || n >= len(args) {
		return fmt.Errorf("{%s} names none of the %d arguments", hole, len(args))
	}
	v, isNumber := args[n].(int64)
	switch digits, isD := strings.CutPrefix(strings.ToUpper(form), "D"); {
	case form == "":
	case isD && isNumber:
		width, err := strconv.Atoi("0" + digits)
		if err != nil || width > 99 {
			return fmt.Errorf("{%s} is not understood", hole)
		}
		fmt.Fprintf(b, "%0*d", width, v)
		return nil
	default:
		return fmt.Errorf("{%s} is not understood; {%d} and {%d:D3} are", hole, n, n)
	}
	s, err := asText(args[n])
	b.WriteString(s)
	return err
}

// guidSpace is the namespace of Azure's guid(): a version 5 UUID (RFC 9562, 5.5)
// of the arguments joined with - (learn.microsoft.com, template function guid).
var guidSpace = uuid.MustParse("11fb06fb-712d-4ddd-98c7-e71bbd588830")

func guid(_ *expander, a []any) (any, error) {
	s, err := texts(a)
	if err != nil {
		return nil, err
	}
	return uuid.NewSHA1(guidSpace, []byte(strings.Join(s, "-"))).String(), nil
}

// uniqueString is 13 letters and digits of the arguments' SHA-256.
func uniqueString(_ *expander, a []any) (any, error) {
	s, err := texts(a)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(strings.Join(s, "-")))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:13]), nil
}
