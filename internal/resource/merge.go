package resource

import "maps"

// Merge is JSON merge patch (RFC 7396): objects are merged, null removes,
// everything else replaces. Neither argument is changed.
func Merge(old, patch map[string]any) map[string]any {
	out := maps.Clone(old)
	if out == nil {
		out = map[string]any{}
	}
	for key, v := range patch {
		was, wasObject := out[key].(map[string]any)
		now, isObject := v.(map[string]any)
		switch {
		case v == nil:
			delete(out, key)
		case isObject && wasObject:
			out[key] = Merge(was, now)
		case isObject:
			out[key] = Merge(nil, now)
		default:
			out[key] = v
		}
	}
	return out
}
