package backup

import (
	"encoding/json"
	"time"

	"holdfast"
	"holdfast/internal/service"
)

// maxListed is how many deleted points of one item are listed; all are counted.
const maxListed = 1000

// DecodePreview reads the request for a preview of a policy: {"properties": a
// policy as PUT takes it, "at": a time, "protectedItemId": an id}, each optional.
func DecodePreview(body []byte) (in service.PreviewRequest, err error) {
	var r struct {
		Properties      json.RawMessage `json:"properties"`
		At              string          `json:"at"`
		ProtectedItemID string          `json:"protectedItemId"`
	}
	if err := decode(body, &r); err != nil {
		return in, err
	}
	in.Item = r.ProtectedItemID
	if len(r.Properties) > 0 && string(r.Properties) != "null" {
		in.Properties = r.Properties
	}
	if r.At != "" {
		if in.At, err = time.Parse(time.RFC3339, r.At); err != nil {
			return in, holdfast.Errorf(holdfast.Invalid, "at", "at is %q; a time is written 2024-01-02T15:04:05Z.", r.At)
		}
	}
	return in, nil
}

// PolicyPreview is a preview on the wire.
type PolicyPreview struct {
	At     string         `json:"at"`
	Points []PreviewPoint `json:"points"` // oldest first
	Items  []PreviewItem  `json:"items"`
}

// PreviewPoint is one point of it.
type PreviewPoint struct {
	Name       string   `json:"name,omitempty"` // absent for a point that is yet to be made
	Time       string   `json:"time"`
	ExpiryTime string   `json:"expiryTime,omitempty"` // absent: kept for ever
	Tags       []string `json:"tags,omitempty"`       // Daily, Weekly, Monthly, Yearly
}

// PreviewItem says what saving the policy does to one of its items.
type PreviewItem struct {
	ID           string         `json:"id"`
	FriendlyName string         `json:"friendlyName"`
	Points       int            `json:"points"`
	Shortened    int            `json:"shortened"`
	Lengthened   int            `json:"lengthened"`
	DeletedCount int            `json:"deletedCount"`
	Deleted      []PreviewPoint `json:"deleted"` // the first thousand
}

// Preview is what a policy would do.
func Preview(p service.Preview) PolicyPreview {
	out := PolicyPreview{At: stampOf(p.At), Points: []PreviewPoint{}, Items: []PreviewItem{}}
	for _, point := range p.Points {
		out.Points = append(out.Points, previewPoint(point))
	}
	for _, i := range p.Items {
		w := PreviewItem{ID: i.Item.ID, FriendlyName: i.Item.VM, Points: i.Points, Shortened: i.Shortened, Lengthened: i.Lengthened, DeletedCount: len(i.Deleted), Deleted: []PreviewPoint{}}
		for _, m := range i.Deleted[:min(len(i.Deleted), maxListed)] {
			w.Deleted = append(w.Deleted, previewPoint(service.PreviewPoint{Made: m}))
		}
		out.Items = append(out.Items, w)
	}
	return out
}

func previewPoint(p service.PreviewPoint) PreviewPoint {
	return PreviewPoint{Name: p.Name, Time: stampOf(p.Time), ExpiryTime: stampOf(p.Expires), Tags: p.Tags}
}

// stampOf is a time on the wire, "" for none.
func stampOf(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
