package mover

import (
	"maps"
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

func FuzzTags(f *testing.F) {
	f.Add(`<holdfast:tags xmlns:holdfast="urn:holdfast:tags:1"><tag name="a">b</tag></holdfast:tags>`)
	f.Add(`</metadata>`)
	f.Fuzz(func(t *testing.T, s string) { Tags(s) })
}
