package resource

import (
	"encoding/json"
	"reflect"
	"testing"
)

func parsed(t *testing.T, text string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// The cases of RFC 7396, appendix A, that begin and end with an object.
func TestMergeIsMergePatch(t *testing.T) {
	t.Parallel()
	for _, c := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		old, patch := parsed(t, c[0]), parsed(t, c[1])
		if got := Merge(old, patch); !reflect.DeepEqual(got, parsed(t, c[2])) {
			t.Errorf("%s + %s = %v, want %s", c[0], c[1], got, c[2])
		}
		if !reflect.DeepEqual(old, parsed(t, c[0])) || !reflect.DeepEqual(patch, parsed(t, c[1])) {
			t.Errorf("%s + %s changed an argument", c[0], c[1])
		}
	}
}
