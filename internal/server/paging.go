package server

import (
	"strconv"

	"holdfast"
	"holdfast/internal/arm"
)

// stalePage is a link to a page whose mark is gone.
var stalePage = holdfast.Errorf(holdfast.Invalid, "$skipToken", "The page that the link leads to is gone; list again from the start.")

// paged is a page of at most size of a listing that was fetched with one more,
// and the link to the next page if there is one. mark names an element in the
// link; the wire form of an element that does not belong into the listing is nil.
func paged[T any](r *request, all []T, size int, mark func(T) string, wire func(T) any) (answer, error) {
	page := arm.List[any]{Value: []any{}}
	if len(all) > size {
		all = all[:size]
		page.NextLink = arm.NextLink(r.base(), r.URL, mark(all[size-1]))
	}
	for _, v := range all {
		if w := wire(v); w != nil {
			page.Value = append(page.Value, w)
		}
	}
	return ok(page)
}

// pageSize is how many elements a page has: $top if it asks for fewer than most.
func (r *request) pageSize(most int) (int, error) {
	top := r.URL.Query().Get("$top")
	if top == "" {
		return most, nil
	}
	n, err := strconv.Atoi(top)
	if err != nil || n < 1 {
		return 0, holdfast.Errorf(holdfast.Invalid, "$top", "$top is %q; it is a number of at least 1.", top)
	}
	return min(n, most), nil
}
