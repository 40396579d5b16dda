package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// eventsVersion is the api-version of Azure's activity log.
const eventsVersion = "2015-04-01"

// Event is a line of the server's audit log: who changed what, or was refused.
type Event struct {
	Raw      json.RawMessage
	At       time.Time
	Caller   string
	From     string // network address, or the deployment that it was a step of
	Action   string
	Resource string // ARM id
	Outcome  string // Succeeded or Failed
	Status   string // HTTP status, and the code of a refusal
	Request  string // correlation id, as in the server's log
}

// EventFilter chooses lines of the audit log; zero members choose all.
type EventFilter struct {
	Since, Until  time.Time
	ResourceGroup string
	Resource      string // ARM id: it and what lies below it
	Request       string // correlation id
}

func (f EventFilter) expression() string {
	var terms []string
	add := func(text string, v string) {
		if v != "" {
			terms = append(terms, fmt.Sprintf("%s '%s'", text, quoted(v)))
		}
	}
	if !f.Since.IsZero() {
		add("eventTimestamp ge", f.Since.UTC().Format(time.RFC3339Nano))
	}
	if !f.Until.IsZero() {
		add("eventTimestamp le", f.Until.UTC().Format(time.RFC3339Nano))
	}
	add("resourceGroupName eq", f.ResourceGroup)
	add("resourceUri eq", f.Resource)
	add("correlationId eq", f.Request)
	return strings.Join(terms, " and ")
}

// Events lists lines of the audit log, newest first.
func (c *Client) Events(ctx context.Context, f EventFilter) ([]Event, error) {
	link := c.url(c.SubscriptionID()+"/providers/Microsoft.Insights/eventtypes/management/values", eventsVersion)
	if filter := f.expression(); filter != "" {
		link += "&$filter=" + url.QueryEscape(filter)
	}
	return listFrom(ctx, c, decodeEvent, link)
}

func decodeEvent(raw json.RawMessage) (Event, error) {
	type word struct {
		Value string `json:"value"`
	}
	var m struct {
		At            time.Time `json:"eventTimestamp"`
		CorrelationID string    `json:"correlationId"`
		Caller        string    `json:"caller"`
		OperationName word      `json:"operationName"`
		Status        word      `json:"status"`
		SubStatus     word      `json:"subStatus"`
		ResourceID    string    `json:"resourceId"`
		HTTPRequest   struct {
			Address string `json:"clientIpAddress"`
		} `json:"httpRequest"`
	}
	err := json.Unmarshal(raw, &m)
	return Event{Raw: raw, At: m.At, Caller: m.Caller, From: m.HTTPRequest.Address, Action: m.OperationName.Value, Resource: m.ResourceID,
		Outcome: m.Status.Value, Status: m.SubStatus.Value, Request: m.CorrelationID}, err
}
