package server

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast"
	wire "holdfast/internal/api/alert"
	"holdfast/internal/service"
)

const alertsIn = "/providers/" + wire.Type

// alertRoutes show what people were told, of a scope or of a subscription.
var alertRoutes = []route{
	get("/"+anyScope+alertsIn, wire.Type+"/read", (*Server).alerts),
	get(subPath+alertsIn+"/{alert}", wire.Type+"/read", (*Server).alert),
	post(subPath+alertsIn+"/{alert}/changestate", wire.Type+"/changestate/action", (*Server).changeAlert),
	get(subPath+alertsIn+"/{alert}/history", wire.Type+"/history/read", (*Server).alertHistory),
	post(subPath+"/providers/Holdfast.Monitor/testAlert", "Holdfast.Monitor/testAlert/action", (*Server).testAlert),
}

// alertRanges are the times that a listing may go back.
var alertRanges = map[string]time.Duration{"": 0, "1h": time.Hour, "1d": 24 * time.Hour, "7d": 7 * 24 * time.Hour, "30d": 30 * 24 * time.Hour}

// alertParameters are those of Azure that are understood here; the others must
// not be dropped, or the answer would be too large.
var alertParameters = []string{"api-version", "$skipToken", "targetResource", "targetResourceGroup", "severity", "monitorCondition", "alertState", "alertRule", "timeRange", "pageCount", "includeContext", "includeEgressConfig"}

func (r *request) alertFilter() (f service.AlertFilter, takes func(holdfast.Alert) bool, err error) {
	q := r.URL.Query()
	for name := range q {
		if !slices.Contains(alertParameters, name) {
			return f, nil, holdfast.Errorf(holdfast.Invalid, name, "The parameter %q is not known here; known are %s.", name, strings.Join(alertParameters, ", "))
		}
	}
	back, known := alertRanges[q.Get("timeRange")]
	if !known {
		return f, nil, holdfast.Errorf(holdfast.Invalid, "timeRange", "timeRange is %q; it is 1h, 1d, 7d or 30d.", q.Get("timeRange"))
	}
	f = service.AlertFilter{Scope: r.scope(), Limit: pageSize}
	if back > 0 {
		f.From = r.server.Clock().Add(-back)
	}
	if n := q.Get("pageCount"); n != "" {
		count, err := strconv.Atoi(n)
		if err != nil || count < 1 || count > 250 {
			return f, nil, holdfast.Errorf(holdfast.Invalid, "pageCount", "pageCount is %q; it is a number from 1 to 250.", n)
		}
		f.Limit = count
	}
	is := func(name, value string) bool { return q.Get(name) == "" || strings.EqualFold(q.Get(name), value) }
	return f, func(a holdfast.Alert) bool {
		e := wire.Alert(a, nil).Properties.Essentials
		group := ""
		if e.TargetResourceGroup != nil {
			group = *e.TargetResourceGroup
		}
		return is("targetResource", a.Resource) && is("targetResourceGroup", group) && is("severity", a.Severity()) && is("monitorCondition", string(*e.MonitorCondition)) &&
			is("alertState", string(a.State())) && is("alertRule", string(a.Kind))
	}, nil
}

func (s *Server) alerts(r *request) (answer, error) {
	f, takes, err := r.alertFilter()
	if err != nil {
		return answer{}, err
	}
	if after := r.URL.Query().Get("$skipToken"); after != "" {
		last, _, err := s.Service.Alert(r.Context(), r.scope(), after)
		if err != nil {
			return answer{}, stalePage
		}
		f.After = &last
	}
	size := f.Limit
	f.Limit++
	all, err := s.Service.AlertsOf(r.Context(), f)
	if err != nil {
		return answer{}, err
	}
	return paged(r, all, size, func(a holdfast.Alert) string { return a.ID }, func(a holdfast.Alert) any {
		if !takes(a) {
			return nil
		}
		return wire.Alert(a, nil)
	})
}

func (s *Server) alert(r *request) (answer, error) {
	a, deliveries, err := s.Service.Alert(r.Context(), "/subscriptions/"+r.sub(), r.captures["alert"])
	if err != nil {
		return answer{}, err
	}
	return ok(wire.Alert(a, deliveries))
}

func (s *Server) changeAlert(r *request) (answer, error) {
	comment, err := decoded(r, wire.DecodeComment)
	if err != nil {
		return answer{}, err
	}
	to := holdfast.AlertState(r.URL.Query().Get("newState"))
	a, deliveries, err := s.Service.ChangeAlert(r.Context(), "/subscriptions/"+r.sub(), r.captures["alert"], to, comment)
	if err != nil {
		return answer{}, err
	}
	return ok(wire.Alert(a, deliveries))
}

func (s *Server) alertHistory(r *request) (answer, error) {
	a, deliveries, err := s.Service.Alert(r.Context(), "/subscriptions/"+r.sub(), r.captures["alert"])
	if err != nil {
		return answer{}, err
	}
	return ok(wire.History(a, deliveries))
}

// testAlert answers with the alert and what became of it: whoever asks wants to
// know whether it arrived.
func (s *Server) testAlert(r *request) (answer, error) {
	a, deliveries, err := s.Service.TestAlert(r.Context(), r.sub())
	if err != nil {
		return answer{}, err
	}
	return status(http.StatusOK, wire.Alert(a, deliveries)), nil
}
