package service

import (
	"context"

	"github.com/google/uuid"

	"holdfast"
	"holdfast/internal/catalog"
)

// Subscription is a namespace of resources.
type Subscription struct {
	Stamp
	SubscriptionID string `json:"subscriptionId"` // GUID
	TenantID       string `json:"tenantId"`       // GUID
	Name           string `json:"name"`
}

const tenancy = "/tenancy"

// Found returns the first subscription, making it and its tenant at first start.
func (s *Service) Found(ctx context.Context) (Subscription, error) {
	return write(ctx, s.Catalog, func(tx *catalog.Tx) (Subscription, error) {
		sub, _, err := catalog.Read[Subscription](tx, tenancy)
		if err == nil || holdfast.KindOf(err) != holdfast.NotFound {
			return sub, err
		}
		sub = Subscription{SubscriptionID: uuid.NewString(), TenantID: uuid.NewString(), Name: "Holdfast"}
		if _, err := catalog.Write(tx, catalog.Resource{ID: tenancy, Type: "Holdfast.Identity/tenancy", Parent: "/"}, sub); err != nil {
			return sub, err
		}
		_, err = catalog.Write(tx, catalog.Resource{ID: subscriptionID(sub.SubscriptionID), Type: TypeSubscription, Parent: "/"}, sub)
		return sub, err
	})
}

// Subscriptions lists all subscriptions; what a caller may see, server decides.
func (s *Service) Subscriptions(ctx context.Context) ([]Subscription, error) {
	return read(ctx, s.Catalog, func(tx *catalog.Tx) ([]Subscription, error) {
		return list(tx, catalog.Query{Type: TypeSubscription}, decodeSubscription)
	})
}

// Subscription returns one subscription.
func (s *Service) Subscription(ctx context.Context, sub string) (Subscription, error) {
	return read(ctx, s.Catalog, func(tx *catalog.Tx) (Subscription, error) { return findSubscription(tx, sub) })
}

// findSubscription returns a subscription, or holdfast.NotFound.
func findSubscription(tx *catalog.Tx, sub string) (Subscription, error) {
	r, err := tx.Get(subscriptionID(sub))
	if holdfast.KindOf(err) == holdfast.NotFound && err != nil {
		return Subscription{}, holdfast.Errorf(holdfast.NotFound, sub, "The subscription %q was not found.", sub)
	}
	if err != nil {
		return Subscription{}, err
	}
	return decodeSubscription(r)
}

func decodeSubscription(r catalog.Resource) (Subscription, error) {
	v, err := catalog.Decode[Subscription](r)
	v.Stamp = stamp(r)
	return v, err
}
