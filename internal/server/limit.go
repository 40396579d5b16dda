package server

import (
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Rates. They bound what one caller gone wild costs the others and are far
// above what a client needs; following a job or an operation is not counted.
const (
	callerRate  = 50  // requests a second of one principal, lasting
	callerBurst = 500 // and at once
	signInRate  = 0.5 // failed sign-ins a second from one address, lasting
	signInBurst = 20  // and at once
	maxLimiters = 10_000
)

// limiter bounds how often each of many keys may do something.
type limiter struct {
	rate  rate.Limit
	burst int

	mu   sync.Mutex
	keys map[string]*rate.Limiter
}

func newLimiter(perSecond float64, burst int) *limiter {
	return &limiter{rate: rate.Limit(perSecond), burst: burst, keys: map[string]*rate.Limiter{}}
}

// of returns a key's limiter. When there are too many, those that are full
// again are forgotten: they say nothing that a new one would not.
func (l *limiter) of(key string, now time.Time) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.keys[key]; k != nil {
		return k
	}
	if len(l.keys) >= maxLimiters {
		for key, k := range l.keys {
			if k.TokensAt(now) >= float64(l.burst) {
				delete(l.keys, key)
			}
		}
	}
	k := rate.NewLimiter(l.rate, l.burst)
	l.keys[key] = k
	return k
}

// take counts one more of a key, and says how long to wait if that was too many.
func (l *limiter) take(key string, now time.Time) (wait time.Duration) {
	k := l.of(key, now)
	if k.AllowN(now, 1) {
		return 0
	}
	return time.Duration((1 - k.TokensAt(now)) / float64(l.rate) * float64(time.Second))
}

// spent says whether a key has nothing left, without counting.
func (l *limiter) spent(key string, now time.Time) bool { return l.of(key, now).TokensAt(now) < 1 }

// limited refuses a caller that asks too often. Clients wait and try again.
func (s *Server) limited(r *request) error {
	if r.step || r.Method == http.MethodGet && (strings.Contains(r.action, "/operationsStatus/") || strings.Contains(r.action, "/backupOperations/") ||
		strings.Contains(r.action, "/backupJobs/") || strings.Contains(r.action, "Results/") || r.captures["op"] != "") {
		return nil
	}
	if wait := s.callers.take(r.caller.ID, s.Clock()); wait > 0 {
		return tooMany{wait}
	}
	return nil
}

// tooMany is a request too many.
type tooMany struct{ wait time.Duration }

func (tooMany) Error() string {
	return "Too many requests; the answer's Retry-After says when to try again."
}

func (e tooMany) header() http.Header {
	return http.Header{"Retry-After": {strconv.Itoa(int(math.Ceil(max(1, e.wait.Seconds()))))}}
}

// address is a request's network address without its port.
func (r *request) address() string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
