package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"holdfast"
	"holdfast/internal/clock"
)

// Webhook posts alerts as JSON in the common alert schema of Azure Monitor
// (learn.microsoft.com/azure/azure-monitor/alerts/alerts-common-schema), signed
// as Standard Webhooks are (github.com/standard-webhooks, spec 1.0): the headers
// webhook-id, webhook-timestamp (seconds since 1970) and webhook-signature, which
// is "v1," and the base64 of the HMAC-SHA-256 of "ID.TIMESTAMP.BODY".
type Webhook struct {
	URL    string
	Secret []byte // nil signs nothing
	Clock  clock.Clock
	Client *http.Client // nil is one of its own
}

// SecretOf reads the key of a webhook's signatures from a file's content: text as
// it is, or base64 after "whsec_", which is how Standard Webhooks write it.
func SecretOf(content []byte) ([]byte, error) {
	text := strings.TrimSpace(string(content))
	if encoded, ok := strings.CutPrefix(text, "whsec_"); ok {
		key, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return nil, errors.New("what follows whsec_ is not base64")
		}
		text = string(key)
	}
	if len(text) < 16 {
		return nil, errors.New("it has fewer than 16 bytes")
	}
	return []byte(text), nil
}

// Check refuses an address that alerts must not go to.
func (w Webhook) Check() error {
	u, err := url.Parse(w.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("the webhook is not an https URL")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return errors.New("the webhook is a plaintext URL of another machine; use https")
	}
	return nil
}

// Name is WebhookName.
func (Webhook) Name() string { return WebhookName }

// plain is a client that follows no redirection: it would take the alert where
// nobody said it may go.
var plain = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// Send posts one alert; any answer but 2xx is an error.
func (w Webhook) Send(ctx context.Context, a holdfast.Alert, s State) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	body := holdfast.Marshal(common(a, s))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("the URL is malformed") // which may hold a secret
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "holdfast")
	w.sign(req.Header, a.ID+"-"+strings.ToLower(string(s)), body)
	client := w.Client
	if client == nil {
		client = plain
	}
	resp, err := client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the URL
		}
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%w: it answered %s", ErrRefused, resp.Status)
	}
	return nil
}

// sign adds the headers by which a receiver knows the sender and a repetition.
func (w Webhook) sign(h http.Header, id string, body []byte) {
	at := strconv.FormatInt(w.Clock().Unix(), 10)
	h.Set("webhook-id", id)
	h.Set("webhook-timestamp", at)
	if len(w.Secret) == 0 {
		return
	}
	mac := hmac.New(sha256.New, w.Secret)
	_, _ = fmt.Fprintf(mac, "%s.%s.%s", id, at, body) // a hash does not fail
	h.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

// common is an alert in the common alert schema.
func common(a holdfast.Alert, s State) any {
	essentials := map[string]any{
		"alertId": a.ARMID(), "alertRule": a.Kind, "severity": a.Severity(), "signalType": "Log", "monitorCondition": s, "monitoringService": holdfast.AlertService,
		"alertTargetIDs": []string{a.Resource}, "configurationItems": []string{a.Entity}, "originAlertId": a.ID, "firedDateTime": a.Time.UTC().Format(time.RFC3339Nano),
		"description": strings.TrimSpace(a.Message + " " + a.Hint), "essentialsVersion": "1.0", "alertContextVersion": "1.0",
	}
	if s == Resolved {
		essentials["resolvedDateTime"] = a.Resolved.UTC().Format(time.RFC3339Nano)
	}
	return map[string]any{"schemaId": "azureMonitorCommonAlertSchema", "data": map[string]any{"essentials": essentials, "alertContext": a, "customProperties": json.RawMessage("null")}}
}
