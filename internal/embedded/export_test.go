package embedded

import "net/http"

// Handler is what answers requests, without the network.
func (s *Server) Handler() http.Handler { return s.http.Handler }
