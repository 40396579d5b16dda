package repository

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/repository"
)

func TestParseDirtyMap(t *testing.T) {
	t.Parallel()
	want := []repository.Range{{Offset: 0, Length: 200}, {Offset: 300, Length: 10}}
	for _, text := range []string{
		"{\"offset\":0,\"length\":100}\n{\"offset\":100,\"length\":100}\n{\"offset\":300,\"length\":10}",
		`[{"offset":300,"length":10,"type":1,"description":"dirty"},{"offset":0,"length":200,"type":1},{"offset":200,"length":100,"type":0}]`,
	} {
		if got, err := parseDirtyMap(strings.NewReader(text), 1000); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{`{"offset":-1,"length":5}`, `{"offset":999,"length":5}`, `{"offset":0,"length":0}`, `{`, `[1]`, `{"offset":9223372036854775807,"length":9223372036854775807}`,
		"", " \n", `[{"offset":0,"length":10,"type":0,"description":"data"}]`, `[{"offset":0,"length":10,"type":3,"description":"hole,zero"}]`, `[{"offset":0,"length":10,"type":2}]`, "null"} {
		if _, err := parseDirtyMap(strings.NewReader(text), 1000); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
}

func FuzzParseDirtyMap(f *testing.F) {
	f.Add(`[{"offset":300,"length":10,"type":1}]`)
	f.Add("{\"offset\":0,\"length\":100}\n{\"offset\":100,\"length\":100}")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseDirtyMap(strings.NewReader(text), 1000)
		if err != nil {
			return
		}
		if got == nil {
			got = []repository.Range{} // null is no map
		}
		b, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseDirtyMap(strings.NewReader(string(b)), 1000)
		if err != nil || !slices.Equal(again, got) {
			t.Errorf("%v is read back as %v, %v", got, again, err)
		}
	})
}
