package client

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// Protection is what the immutability of a vault keeps, or would keep.
type Protection struct {
	Raw       json.RawMessage `json:"-"`
	State     string          `json:"state"` // Disabled, Unlocked or Locked
	Points    int             `json:"points"`
	Until     time.Time       `json:"until"` // the last of them; zero is none
	ForEver   bool            `json:"keptForEver"`
	HoldDays  int             `json:"storeHoldDays"` // for how long the store itself refuses to delete
	WouldHold int             `json:"wouldHoldDays"`
	Refused   []string        `json:"refused"`
}

// PreviewImmutability says what locking a vault means. Nothing is changed.
func (c *Client) PreviewImmutability(ctx context.Context, v VaultRef) (Protection, error) {
	decode := func(raw json.RawMessage) (p Protection, err error) {
		p.Raw = raw
		var wire struct {
			*Protection
			Until string `json:"until"`
		}
		wire.Protection = &p
		if err := json.Unmarshal(raw, &wire); err != nil {
			return p, err
		}
		if wire.Until != "" {
			p.Until, err = time.Parse(time.RFC3339, wire.Until)
		}
		return p, err
	}
	return get(ctx, c, decode, func(ctx context.Context) error {
		_, err := c.send(ctx, http.MethodPost, c.url(c.vaultID(v)+"/previewImmutability", backupVersion), map[string]any{}, http.StatusOK)
		return err
	})
}

// SetImmutability changes the immutability of a vault. Locked is for ever.
func (c *Client) SetImmutability(ctx context.Context, v VaultRef, state string) error {
	body := map[string]any{"properties": map[string]any{"securitySettings": map[string]any{"immutabilitySettings": map[string]any{"state": state}}}}
	_, err := c.send(ctx, http.MethodPatch, c.url(c.vaultID(v), backupVersion), body, http.StatusOK)
	return err
}
