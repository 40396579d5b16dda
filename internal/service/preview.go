package service

import (
	"context"
	"encoding/json"
	"time"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/policy"
	"holdfast/internal/resource"
)

// PreviewRequest asks what a policy would do.
type PreviewRequest struct {
	// Properties is the policy as PutPolicy takes it; nil is the one that is saved.
	Properties json.RawMessage
	At         time.Time // the moment to look at; zero is now
	Item       string    // ARM id of the item to look at; "" is a VM protected from now on
}

// Preview says what a policy would do. Nothing is changed.
type Preview struct {
	At time.Time
	// Points are those that there are at At, oldest first, when every run until
	// then makes its point.
	Points []PreviewPoint
	// Items are the items of the policy, and what becomes of their points.
	Items []PreviewItem
}

// PreviewPoint is a point of a preview.
type PreviewPoint struct {
	policy.Made
	Tags []string // of retention that hold it; none when its owner said how long
}

// PreviewItem says what saving a policy would do to the points of an item.
type PreviewItem struct {
	Item                  Item
	Points                int // it has now
	Shortened, Lengthened int // of these: how many would be kept less long, longer
	// Deleted are those that the next clean-up would delete, and would not under
	// the policy that is saved.
	Deleted []policy.Made
}

// PreviewPolicy says what a policy of a vault would do before it is saved.
func (s *Service) PreviewPolicy(ctx context.Context, vault, name string, in PreviewRequest) (Preview, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Preview, error) {
		v, err := findVault(tx, vault)
		if err != nil {
			return Preview{}, err
		}
		b, err := believed(tx)
		if err != nil {
			return Preview{}, err
		}
		pv := previewing{s: s, tx: tx, vault: v, now: tx.Now(), believed: b.Time}
		if err := pv.policies(name, in.Properties); err != nil {
			return Preview{}, err
		}
		return pv.show(name, in)
	})
}

// previewing is a preview that is being made.
type previewing struct {
	s             *Service
	tx            *catalog.Tx
	vault         Vault
	now, believed time.Time
	saved         policy.Policy
	isSaved       bool
	asked         policy.Policy
}

// policies reads the policy that is saved and the one that is asked about.
func (pv *previewing) policies(name string, properties json.RawMessage) (err error) {
	row, err := findPolicy(pv.tx, pv.vault.ID, name)
	if err == nil {
		pv.isSaved = true
		if pv.saved, err = policy.Parse(row.Properties); err != nil {
			pv.isSaved, err = false, nil // a broken one keeps everything: nothing to compare with
		}
	} else if holdfast.KindOf(err) != holdfast.NotFound || properties == nil {
		return err
	}
	pv.asked = pv.saved
	if properties != nil {
		pv.asked, err = pv.s.newPolicy(extended(properties, row.Properties), row.Properties)
	}
	return err
}

func (pv *previewing) show(name string, in PreviewRequest) (out Preview, err error) {
	out.At = in.At
	if out.At.IsZero() {
		out.At = pv.now
	}
	if out.At.Before(pv.now) || out.At.After(pv.now.AddDate(maxLifeYears, 0, 1)) {
		return out, holdfast.Errorf(holdfast.Invalid, "at", "at is %s; it is a moment of the next %d years.", out.At.Format(time.RFC3339), maxLifeYears)
	}
	var have []policy.Made
	served := pv.now
	if in.Item != "" {
		i, points, err := pv.item(in.Item)
		if err != nil {
			return out, err
		}
		have, served = points, i.Scheduled
		if ahead(served, pv.now) {
			served = pv.now
		}
	}
	for _, m := range pv.asked.Forecast(have, served, pv.now, out.At) {
		p := PreviewPoint{Made: m}
		if !m.Fixed {
			p.Tags = pv.asked.Tags(m.Time, m.Previous)
		}
		out.Points = append(out.Points, p)
	}
	items, err := resource.List(pv.tx, catalog.Query{Type: resource.TypeItem, Parent: pv.vault.ID}, decodeItem)
	for _, i := range items {
		if err == nil && i.Policy == name {
			var one PreviewItem
			one, err = pv.change(i)
			out.Items = append(out.Items, one)
		}
	}
	return out, err
}

// item is an item of the vault with its points, oldest first.
func (pv *previewing) item(id string) (Item, []policy.Made, error) {
	r, err := pv.tx.Get(id)
	if err != nil {
		_, err = findItem(pv.tx, id)
		return Item{}, nil, err
	}
	i, err := decodeItem(r)
	if err != nil || !resource.SameName(r.Type, resource.TypeItem) || !resource.SameName(i.Vault, pv.vault.ID) {
		return i, nil, holdfast.Errorf(holdfast.Invalid, "protectedItemId", "protectedItemId is %q, which is not an item of the vault.", id)
	}
	points, err := pointsOf(pv.tx, i.ID)
	return i, asMade(points), err
}

// change says what becomes of the points of an item when the policy is saved.
func (pv *previewing) change(i Item) (PreviewItem, error) {
	_, have, err := pv.item(i.ID)
	out := PreviewItem{Item: i, Points: len(have)}
	if err != nil {
		return out, err
	}
	before, after := have, pv.asked.Remark(have)
	if pv.isSaved {
		before = pv.saved.Remark(have)
	}
	for n := range after {
		switch {
		case sooner(after[n].Expires, before[n].Expires) && pv.vault.Immutable():
			after[n].Expires = before[n].Expires // kept all the same
		case sooner(after[n].Expires, before[n].Expires):
			out.Shortened++
		case sooner(before[n].Expires, after[n].Expires):
			out.Lengthened++
		}
	}
	_, anyway := policy.CleanUp(before, pv.believed)
	_, gone := policy.CleanUp(after, pv.believed)
	going := map[string]bool{}
	for _, m := range anyway {
		going[m.Name] = true
	}
	for _, m := range gone {
		if !going[m.Name] {
			out.Deleted = append(out.Deleted, m)
		}
	}
	return out, nil
}
