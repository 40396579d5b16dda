package catalog

import "strings"

// Move gives a resource, with everything below it and everything listed under
// it, another id: from and to are ids as they are shown. Bodies that name one of
// the ids as a JSON string are corrected. Created, Updated and ETag stay, so that
// a listing goes on where it was.
//
// What its jobs are about moves, too; their Args stay as they were.
func (tx *Tx) Move(from, to string) error {
	low, high := span(from)
	was, is := strings.ToLower(from), strings.ToLower(to)
	rest := len(was) + 1 // substr counts from 1
	within := func(column string) string {
		return `(` + column + ` = ? OR ` + column + ` >= ? AND ` + column + ` < ?)`
	}
	moved := func(column string) string {
		return column + ` = CAST(? AS TEXT) || substr(` + column + `, CAST(? AS INTEGER))`
	}
	for _, s := range []struct {
		text string
		args []any
	}{
		// The bodies first, while what names them is found by the old ids.
		{`UPDATE resource SET body = replace(replace(body, CAST(? AS TEXT), CAST(? AS TEXT)), CAST(? AS TEXT), CAST(? AS TEXT)) WHERE ` + within(`id`) + ` OR ` + within(`parent`),
			[]any{`"` + from + `"`, `"` + to + `"`, `"` + from + `/`, `"` + to + `/`, was, low, high, was, low, high}},
		{`UPDATE resource SET ` + moved(`parent`) + ` WHERE ` + within(`parent`), []any{is, rest, was, low, high}},
		{`UPDATE resource SET ` + moved(`id`) + `, ` + moved(`arm_id`) + ` WHERE ` + within(`id`), []any{is, rest, to, rest, was, low, high}},
		{`UPDATE job SET ` + moved(`scope`) + ` WHERE ` + within(`scope`), []any{is, rest, was, low, high}},
		{`UPDATE job SET ` + moved(`subject`) + ` WHERE ` + within(`subject`), []any{is, rest, was, low, high}},
	} {
		if _, err := tx.Exec(s.text, s.args...); err != nil {
			return err
		}
	}
	return nil
}
