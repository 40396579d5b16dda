package server

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"holdfast"
	"holdfast/internal/arm"
	"holdfast/internal/identity"
)

const (
	eventsPath = subPath + "/providers/Microsoft.Insights/eventtypes/management/values"
	eventsPage = 200
	auditTime  = 10 * time.Second
)

// The audit log, in the form of Azure's activity log.
var auditRoutes = []route{get(eventsPath, "Microsoft.Insights/eventtypes/values/read", (*Server).events)}

// audit keeps who changed what, or was not let in. Reading leaves no line.
func (s *Server) audit(r *request, a answer) {
	reading := r.Method == http.MethodGet || r.Method == http.MethodHead
	refused := a.status == http.StatusUnauthorized || a.status == http.StatusForbidden
	if reading && !refused || r.action == public && !refused {
		return
	}
	e := identity.Event{Request: r.id, Principal: r.caller.ID, Name: r.caller.Name, Source: r.RemoteAddr, Action: r.action, Resource: r.resource(),
		Subscription: r.sub(), Status: a.status}
	if body, isError := a.body.(arm.ErrorBody); isError {
		e.Code = body.Error.Code
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), auditTime)
	defer cancel()
	if err := s.Service.Identity.Audit(ctx, e); err != nil {
		s.Log.Error("audit line not written", "id", r.id, "error", err)
	}
}

// events lists the audit log, newest first. az asks with a range of times.
func (s *Server) events(r *request) (answer, error) {
	f, err := r.filter("eventTimestamp ge", "eventTimestamp le", "eventChannels", "correlationId", "resourceGroupName", "resourceUri", "resourceId")
	if err != nil {
		return answer{}, err
	}
	from, err1 := f.Time("eventTimestamp ge")
	to, err2 := f.Time("eventTimestamp le")
	if err1 != nil || err2 != nil {
		return answer{}, holdfast.Errorf(holdfast.Invalid, "$filter", "eventTimestamp is compared with dates such as '2024-01-02T00:00:00Z'.")
	}
	q := identity.EventFilter{Subscription: r.sub(), From: from, To: to, Request: f.Get("correlationId"), Under: f.Get("resourceUri") + f.Get("resourceId"), Limit: eventsPage + 1}
	if g := f.Get("resourceGroupName"); g != "" {
		q.Under = "/subscriptions/" + r.sub() + "/resourceGroups/" + g
	}
	if token := r.URL.Query().Get("$skipToken"); token != "" {
		last, found, err := s.Service.Identity.Event(r.Context(), r.sub(), token)
		if err != nil {
			return answer{}, err
		}
		if !found {
			return answer{}, stalePage
		}
		q.Before = &last
	}
	all, err := s.Service.Identity.Events(r.Context(), q)
	if err != nil {
		return answer{}, err
	}
	return paged(r, all, eventsPage, func(e identity.Event) string { return e.ID }, func(e identity.Event) any { return event(e) })
}

// event is a line of the audit log as an activity log event.
func event(e identity.Event) map[string]any {
	outcome, level := "Succeeded", "Informational"
	if e.Status >= 400 {
		outcome, level = "Failed", "Error"
	}
	localized := func(v string) map[string]string { return map[string]string{"value": v, "localizedValue": v} }
	group := ""
	if id, err := arm.ParseID(e.Resource); err == nil {
		group = id.Group
	}
	return map[string]any{
		"id": e.Resource + "/events/" + e.ID, "eventDataId": e.ID, "eventTimestamp": e.At.Format(time.RFC3339Nano), "submissionTimestamp": e.At.Format(time.RFC3339Nano),
		"correlationId": e.Request, "operationId": e.Request, "caller": e.Name, "claims": map[string]string{"oid": e.Principal}, "level": level,
		"operationName": localized(e.Action), "status": localized(outcome), "subStatus": localized(strings.TrimSpace(strconv.Itoa(e.Status) + " " + e.Code)),
		"eventName": localized("EndRequest"), "category": localized("Administrative"), "resourceId": e.Resource, "resourceGroupName": group,
		"subscriptionId": e.Subscription, "httpRequest": map[string]string{"clientRequestId": e.Request, "clientIpAddress": e.Source},
	}
}
