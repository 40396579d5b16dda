package client

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	alerts "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/alertsmanagement/armalertsmanagement"
)

// alertVersion is that of armalertsmanagement v0.10.0.
const alertVersion = "2019-05-05-preview"

// Alert is what people were told.
type Alert struct {
	Raw                       json.RawMessage
	Name, Rule, Severity      string
	Condition                 string // Fired or Resolved
	State                     string // New, Acknowledged or Closed: how far people are with it
	Target, Description, Hint string
	At                        time.Time
	Deliveries                []AlertDelivery // of one that is shown
}

// AlertDelivery is what became of an alert on one channel.
type AlertDelivery struct {
	Channel, State, Error string
	Tries                 int
	Taken                 bool
	Next                  time.Time
}

func decodeAlert(raw json.RawMessage) (Alert, error) {
	var m alerts.Alert
	if err := json.Unmarshal(raw, &m); err != nil {
		return Alert{}, err
	}
	a := Alert{Raw: raw, Name: value(m.Name)}
	if m.Properties == nil || m.Properties.Essentials == nil {
		return a, nil
	}
	e := m.Properties.Essentials
	a.Rule, a.Severity, a.Condition = value(e.AlertRule), string(value(e.Severity)), string(value(e.MonitorCondition))
	a.State = string(value(e.AlertState))
	a.Target, a.Description, a.At = value(e.TargetResourceName), value(e.Description), moment(e.StartDateTime)
	var context struct {
		Properties struct {
			Context struct {
				Hint       string
				Deliveries []AlertDelivery
			}
		}
	}
	err := json.Unmarshal(raw, &context)
	a.Hint, a.Deliveries = context.Properties.Context.Hint, context.Properties.Context.Deliveries
	return a, err
}

// Alerts lists the alerts of the subscription, newest first; back is 1h, 1d, 7d,
// 30d or, for all, "".
func (c *Client) Alerts(ctx context.Context, back string) ([]Alert, error) {
	url := c.url("/subscriptions/"+c.config.Subscription+"/providers/Microsoft.AlertsManagement/alerts", alertVersion)
	if back != "" {
		url += "&timeRange=" + back
	}
	return listFrom(ctx, c, decodeAlert, url)
}

// ChangeAlert says how far people are with an alert.
func (c *Client) ChangeAlert(ctx context.Context, name, state, comment string) (Alert, error) {
	to := alerts.AlertState(state)
	url := c.url("/subscriptions/"+c.config.Subscription+"/providers/Microsoft.AlertsManagement/alerts/"+name+"/changestate", alertVersion) + "&newState=" + string(to)
	var body any
	if comment != "" {
		body = alerts.Comments{Comments: &comment}
	}
	resp, err := c.send(ctx, http.MethodPost, url, body, http.StatusOK)
	if err != nil {
		return Alert{}, err
	}
	raw, err := runtime.Payload(resp)
	if err != nil {
		return Alert{}, c.translate(ctx, err)
	}
	return decoded(decodeAlert, raw)
}

// TestAlert sends a test alert to every channel, once.
func (c *Client) TestAlert(ctx context.Context) (Alert, error) {
	resp, err := c.send(onceOnly(ctx), http.MethodPost, c.url("/subscriptions/"+c.config.Subscription+"/providers/Holdfast.Monitor/testAlert", siteVersion), nil, http.StatusOK)
	if err != nil {
		return Alert{}, err
	}
	raw, err := runtime.Payload(resp)
	if err != nil {
		return Alert{}, c.translate(ctx, err)
	}
	return decoded(decodeAlert, raw)
}
