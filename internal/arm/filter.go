package arm

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Filter is a parsed $filter: the grammar that the clients send, which is
// name eq 'value' joined with and (arm-contract, 4). A comparison with ge or le
// is kept under "name ge" and "name le".
type Filter map[string]string // by lower-case name

// ParseFilter parses a $filter; "" is the empty one. The value may be quoted
// with ” for a quote in it, or be a bare word.
func ParseFilter(s string) (Filter, error) {
	f := Filter{}
	rest := strings.TrimSpace(s)
	for first := true; rest != ""; first = false {
		if !first {
			word, after := token(rest)
			if !strings.EqualFold(word, "and") {
				return nil, fmt.Errorf("$filter has %q where \"and\" is expected", word)
			}
			rest = after
		}
		var key, op string
		key, rest = token(rest)
		op, rest = token(rest)
		switch op = strings.ToLower(op); {
		case key == "" || op != "eq" && op != "ge" && op != "le":
			return nil, errors.New("$filter is not of the form: name eq 'value' and …")
		case op != "eq":
			key += " " + op
		}
		value, after, err := literal(rest)
		if err != nil {
			return nil, err
		}
		if _, dup := f[strings.ToLower(key)]; dup {
			return nil, fmt.Errorf("$filter names %q twice", key)
		}
		f[strings.ToLower(key)], rest = value, after
	}
	return f, nil
}

// token cuts the first word off s.
func token(s string) (word, rest string) {
	s = strings.TrimLeft(s, " \t")
	i := strings.IndexAny(s, " \t'")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimLeft(s[i:], " \t")
}

// literal cuts a value off s.
func literal(s string) (value, rest string, err error) {
	if !strings.HasPrefix(s, "'") {
		value, rest = token(s)
		if value == "" {
			return "", "", errors.New("$filter ends where a value is expected")
		}
		return value, rest, nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != '\'' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == '\'' {
			b.WriteByte('\'')
			i++
			continue
		}
		return b.String(), strings.TrimLeft(s[i+1:], " \t"), nil
	}
	return "", "", errors.New("$filter has a quote that does not end")
}

// Only says that no other names than these may occur: a condition that is not
// understood must not be dropped, or the answer would be too large.
func (f Filter) Only(names ...string) error {
	for key := range f {
		known := false
		for _, n := range names {
			known = known || strings.EqualFold(n, key)
		}
		if !known {
			return fmt.Errorf("$filter names %q; known here: %s", key, strings.Join(names, ", "))
		}
	}
	return nil
}

// Get returns the value of a name, or "".
func (f Filter) Get(name string) string { return f[strings.ToLower(name)] }

// Matches says whether the filter allows a value of a name, in any case.
func (f Filter) Matches(name, value string) bool {
	want, ok := f[strings.ToLower(name)]
	return !ok || strings.EqualFold(want, value)
}

// filterTimes are the forms of dates in filters: az sends the first.
var filterTimes = []string{"2006-01-02 03:04:05 PM", time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"}

// Time returns the value of a name as a time, UTC unless it says otherwise;
// zero when the filter does not have it.
func (f Filter) Time(name string) (time.Time, error) {
	v, ok := f[strings.ToLower(name)]
	if !ok {
		return time.Time{}, nil
	}
	for _, form := range filterTimes {
		if t, err := time.Parse(form, v); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("$filter: %s is %q, which is not a date such as '2024-01-02 12:00:00 AM'", name, v)
}

// NextLink is the link to the page after token: base is scheme and host, u the
// request that is being answered.
func NextLink(base string, u *url.URL, token string) string {
	q := u.Query()
	q.Set("$skipToken", token)
	return base + u.EscapedPath() + "?" + q.Encode()
}
