package resource

import (
	"slices"
	"testing"
)

func TestAbove(t *testing.T) {
	t.Parallel()
	var got []string
	for id := "/subscriptions/S/resourceGroups/G"; id != ""; id = Above(id) {
		got = append(got, id)
	}
	if want := []string{"/subscriptions/S/resourceGroups/G", "/subscriptions/S/resourceGroups", "/subscriptions/S"}; !slices.Equal(got, want) {
		t.Errorf("above: %v", got)
	}
}
