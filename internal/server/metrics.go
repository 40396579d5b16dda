package server

import (
	"bytes"
	"io"
	"net/http"
	"time"

	"holdfast"
)

// Metrics is told of every request, and says all that is counted.
type Metrics interface {
	Request(method, route string, code int, took time.Duration)
	Write(w io.Writer) error
}

// metricRoutes are for who has the right to read them: Prometheus signs in with
// oauth2 as any other client (scrape_config, oauth2).
var metricRoutes = []route{{method: http.MethodGet, pattern: "/metrics", action: "Holdfast.Server/metrics/read", handler: (*Server).metrics, anyVersion: true}}

func (s *Server) metrics(r *request) (answer, error) {
	if s.Metrics == nil {
		return answer{}, holdfast.Errorf(holdfast.NotFound, "metrics", "The server counts nothing.")
	}
	var out bytes.Buffer
	if err := s.Metrics.Write(&out); err != nil {
		return answer{}, err
	}
	a := status(http.StatusOK, text(out.Bytes()))
	a.header = http.Header{"Content-Type": {"text/plain; version=0.0.4; charset=utf-8"}}
	return a, nil
}
