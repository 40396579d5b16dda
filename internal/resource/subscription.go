package resource

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
	return Write(ctx, s.Catalog, func(tx *catalog.Tx) (Subscription, error) {
		sub, _, err := catalog.Read[Subscription](tx, tenancy)
		if err == nil || holdfast.KindOf(err) != holdfast.NotFound {
			return sub, err
		}
		sub = Subscription{SubscriptionID: uuid.NewString(), TenantID: uuid.NewString(), Name: "Holdfast"}
		if _, err := catalog.Write(tx, catalog.Resource{ID: tenancy, Type: "Holdfast.Identity/tenancy", Parent: "/"}, sub); err != nil {
			return sub, err
		}
		_, err = catalog.Write(tx, catalog.Resource{ID: SubscriptionID(sub.SubscriptionID), Type: TypeSubscription, Parent: "/"}, sub)
		return sub, err
	})
}

// Subscriptions lists all subscriptions; what a caller may see, server decides.
func (s *Service) Subscriptions(ctx context.Context) ([]Subscription, error) {
	return Read(ctx, s.Catalog, func(tx *catalog.Tx) ([]Subscription, error) {
		return List(tx, catalog.Query{Type: TypeSubscription}, decodeSubscription)
	})
}

// Subscription returns one subscription.
func (s *Service) Subscription(ctx context.Context, sub string) (Subscription, error) {
	return Read(ctx, s.Catalog, func(tx *catalog.Tx) (Subscription, error) { return FindSubscription(tx, sub) })
}

// FindSubscription returns a subscription, or holdfast.NotFound.
func FindSubscription(tx *catalog.Tx, sub string) (Subscription, error) {
	r, err := tx.Get(SubscriptionID(sub))
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
	v.Stamp = StampOf(r)
	return v, err
}
