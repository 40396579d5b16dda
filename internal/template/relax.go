package template

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strings"
	"unicode/utf8"
)

// maxDepth is how deep objects and lists may lie in each other.
const maxDepth = 100

// Strict turns the JSON of templates into JSON (RFC 8259): comments and commas
// after the last element go, a member's name may stand without quotes, a string
// may go over lines. az sends a whole request like that: it writes an unquoted
// template: and the file as it is (arm-contract, 5).
//
// What is JSON already comes back with the same meaning. What is neither is left
// to the JSON decoder to refuse.
func Strict(text []byte) []byte {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	var out bytes.Buffer
	for i := 0; i < len(text); {
		rest := text[i:]
		switch c := text[i]; {
		case c == '"':
			i += quoted(&out, rest)
		case bytes.HasPrefix(rest, []byte("//")), bytes.HasPrefix(rest, []byte("/*")):
			i += comment(rest)
			out.WriteByte(' ')
		case c == ',' && closes(text[i+1:]):
			i++
		case letter(c):
			n := wordLength(rest)
			word := string(rest[:n])
			if next := skip(rest[n:]); len(next) > 0 && next[0] == ':' {
				word = `"` + word + `"`
			}
			out.WriteString(word)
			i += n
		default:
			out.WriteByte(c)
			i++
		}
	}
	return out.Bytes()
}

// quoted copies a string with its line breaks and tabs escaped, and returns how
// long it was.
func quoted(out *bytes.Buffer, text []byte) int {
	out.WriteByte('"')
	for i := 1; i < len(text); i++ {
		switch c := text[i]; c {
		case '"':
			out.WriteByte(c)
			return i + 1
		case '\\':
			out.WriteByte(c)
			if i++; i < len(text) {
				out.WriteByte(text[i])
			}
		case '\n':
			out.WriteString(`\n`)
		case '\r':
			out.WriteString(`\r`)
		case '\t':
			out.WriteString(`\t`)
		default:
			out.WriteByte(c)
		}
	}
	return len(text)
}

// comment is how long the comment is that text begins with.
func comment(text []byte) int {
	end, more := "\n", 0 // the line break stays
	if text[1] == '*' {
		end, more = "*/", 2
	}
	i := bytes.Index(text[2:], []byte(end))
	if i < 0 {
		return len(text)
	}
	return 2 + i + more
}

// skip drops white space and comments.
func skip(text []byte) []byte {
	for {
		text = bytes.TrimLeft(text, " \t\r\n")
		if len(text) < 2 || text[0] != '/' || text[1] != '/' && text[1] != '*' {
			return text
		}
		text = text[comment(text):]
	}
}

// closes says whether an object or a list ends next.
func closes(text []byte) bool {
	next := skip(text)
	return len(next) > 0 && (next[0] == '}' || next[0] == ']')
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '$' }

func wordLength(text []byte) int {
	n := 0
	for n < len(text) && (letter(text[n]) || text[n] >= '0' && text[n] <= '9') {
		n++
	}
	return n
}

// Decode reads the JSON of templates: objects are map[string]any, lists []any,
// whole numbers int64 and others float64. A name that occurs twice is an error.
func Decode(text []byte) (any, error) {
	if !utf8.Valid(text) {
		return nil, errorf("", "the template is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(Strict(text)))
	dec.UseNumber()
	v, err := element(dec, "", 0)
	var mine *Error
	switch {
	case errors.As(err, &mine):
		return nil, err
	case err != nil:
		return nil, errorf("", "the template is not valid JSON: %v", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errorf("", "the template is not valid JSON: something follows its end")
	}
	return v, nil
}

func element(dec *json.Decoder, at string, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errorf(at, "objects and lists lie in each other more than %d deep", maxDepth)
	}
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Number:
		return number(at, t)
	case json.Delim:
		if t == '[' {
			return list(dec, at, depth)
		}
		return object(dec, at, depth)
	}
	return token, nil
}

func number(at string, n json.Number) (any, error) {
	if i, err := n.Int64(); err == nil {
		return i, nil
	}
	f, err := n.Float64()
	switch {
	case err != nil:
		return nil, errorf(at, "the number %s is out of range", n)
	case f == math.Trunc(f) && math.Abs(f) < 1<<53: // 1.0 is a whole number, too
		return int64(f), nil
	}
	return f, nil
}

func list(dec *json.Decoder, at string, depth int) (any, error) {
	all := []any{}
	for dec.More() {
		v, err := element(dec, at+"[]", depth+1)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	_, err := dec.Token()
	return all, err
}

func object(dec *json.Decoder, at string, depth int) (any, error) {
	all := map[string]any{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string)
		below := strings.TrimPrefix(at+"."+name, ".")
		if _, twice := all[name]; twice {
			return nil, errorf(below, "the member occurs twice")
		}
		if all[name], err = element(dec, below, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token()
	return all, err
}
