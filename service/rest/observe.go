package rest

import (
	"context"
	"crypto/rand"
	"net/http"
	"regexp"
	"runtime/debug"
	"time"
)

type requestIDKey struct{}

// requestID gives the ID under which the log knows the request.
func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// An ID that the platform's router gave is taken over if it cannot do harm in a log.
var wellFormed = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

// observed gives every request an ID and a line in the log, and survives a panic. The log holds the path and not
// the query: names are nobody else's business.
func (s *server) observed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		id := r.Header.Get("X-Vcap-Request-Id")
		if !wellFormed.MatchString(id) {
			if id = r.Header.Get("X-Request-Id"); !wellFormed.MatchString(id) {
				id = rand.Text()
			}
		}
		w.Header().Set("X-Request-Id", id)
		w.Header().Set("Cache-Control", "no-store")
		r = r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id))
		answer := &recorder{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			if reason := recover(); reason != nil {
				s.Log.Error("panic while serving a request", "request_id", id, "panic", reason, "stack", string(debug.Stack()))
				if !answer.written {
					writeProblem(answer, r, http.StatusInternalServerError, "INTERNAL", "The service met an error that it does not know; give the operator the request id")
				}
			}
			took := time.Since(began)
			s.Log.Debug("request", "request_id", id, "method", r.Method, "path", r.URL.Path, "status", answer.status, "ms", took.Milliseconds())
			if s.Observe != nil {
				s.Observe(r.Pattern, answer.status, took)
			}
		}()
		next.ServeHTTP(answer, r)
	})
}

// limited bounds the requests that are served at once. Who asks for the service's health is never turned away: the platform
// would take a busy service for a dead one.
func (s *server) limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" && r.URL.Path != "/readyz" {
			select {
			case s.places <- struct{}{}:
				defer func() { <-s.places }()
			default:
				w.Header().Set("Retry-After", retryAfter)
				writeProblem(w, r, http.StatusTooManyRequests, "BUSY", "Too many requests at once; try again in a few seconds")
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// handled reads the token and turns an error into an answer.
func (s *server) handled(next handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var c call
		var err error
		if c.token, err = token(r); err == nil {
			err = next(w, r, c)
		}
		if err != nil {
			s.writeError(w, r, err)
		}
	}
}

// recorder remembers the status.
type recorder struct {
	http.ResponseWriter
	status  int
	written bool
}

func (r *recorder) WriteHeader(status int) {
	if !r.written {
		r.status, r.written = status, true
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	r.written = true
	return r.ResponseWriter.Write(p)
}

// Unwrap lets http.MaxBytesReader close the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
