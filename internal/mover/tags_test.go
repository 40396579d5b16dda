package mover

import (
	"maps"
	"reflect"
	"strings"
	"testing"
)

func TestTags(t *testing.T) {
	t.Parallel()
	for _, want := range []map[string]string{nil, {"a": "1"}, {"Kosten & Stelle": `<4"2>`, "leer": ""}} {
		element, err := TagsElement(want)
		if err != nil {
			t.Fatal(err)
		}
		// As libvirt gives it back: with the prefix and the namespace.
		inner := strings.NewReplacer("<tags>", `<holdfast:tags xmlns:holdfast="`+TagsSpace+`">`, "</tags>", "</holdfast:tags>", "<tag ", "<holdfast:tag ", "</tag>", "</holdfast:tag>").Replace(element)
		if got := Tags(`<other xmlns="urn:x"/>` + inner); !maps.Equal(got, want) {
			t.Errorf("%v became %v through %s", want, got, inner)
		}
	}
	if got := Tags("<broken"); got != nil {
		t.Errorf("broken metadata: %v", got)
	}
}

func TestKept(t *testing.T) {
	t.Parallel()
	for _, want := range []map[string]any{nil, {"zones": []any{"1"}, "properties": map[string]any{"licenseType": `<&"`}}} {
		element, err := KeptElement(want)
		if err != nil {
			t.Fatal(err)
		}
		inner := strings.NewReplacer("<kept>", `<holdfast:kept xmlns:holdfast="`+KeptSpace+`">`, "</kept>", "</holdfast:kept>").Replace(element)
		if got := Kept(inner + `<other xmlns="urn:x"/>`); !reflect.DeepEqual(got, want) {
			t.Errorf("%v became %v through %s", want, got, inner)
		}
	}
	for _, bad := range []string{"<broken", `<kept xmlns="` + KeptSpace + `">[1]</kept>`} {
		if got := Kept(bad); got != nil {
			t.Errorf("%s: %v", bad, got)
		}
	}
}

func FuzzTags(f *testing.F) {
	f.Add(`<holdfast:tags xmlns:holdfast="urn:holdfast:tags:1"><tag name="a">b</tag></holdfast:tags>`)
	f.Add(`</metadata>`)
	f.Add(`<kept xmlns="urn:holdfast:kept:1">{"zones":["1"]}</kept>`)
	f.Fuzz(func(t *testing.T, s string) { Tags(s); Kept(s) })
}
