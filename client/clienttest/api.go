// Package clienttest is a migration API that answers what a test tells it to, faults included: what a healthy service
// never shows.
package clienttest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"time"
)

// API is a scripted server. It may be used by several goroutines at once.
type API struct {
	*httptest.Server

	mu       sync.Mutex // guards what follows
	answers  map[string][]Answer
	requests []Request
}

// Request is what the server was asked.
type Request struct {
	// Line is the method and the path: "GET /v1/replication".
	Line   string
	Query  map[string][]string
	Header http.Header
	Body   string
}

// Answer answers one request.
type Answer struct {
	Status int
	Type   string // of the content
	Body   string
	Header map[string]string

	// Delay is how long the answer takes.
	Delay time.Duration

	// Reset closes the connection instead of an answer.
	Reset bool

	// Truncated announces more than the body holds.
	Truncated bool

	// Before is called before the answer is given; may be nil.
	Before func()
}

// Start starts a server that answers 404 to all that [API.On] was not called for.
func Start() *API {
	a := &API{answers: map[string][]Answer{}}
	a.Server = httptest.NewServer(a)
	return a
}

// StartTLS is Start with https.
func StartTLS() *API {
	a := &API{answers: map[string][]Answer{}}
	a.Server = httptest.NewTLSServer(a)
	return a
}

// On sets the answers to a request, "GET /v1/replication", in their order. The last one is given again and again.
func (a *API) On(line string, answers ...Answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers[line] = answers
}

// Requests lists what was asked so far.
func (a *API) Requests() []Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Request{}, a.requests...)
}

// Asked counts the requests of that line.
func (a *API) Asked(line string) int {
	n := 0
	for _, r := range a.Requests() {
		if r.Line == line {
			n++
		}
	}
	return n
}

// ServeHTTP gives the next answer.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	line := r.Method + " " + r.URL.Path
	a.mu.Lock()
	a.requests = append(a.requests, Request{line, r.URL.Query(), r.Header.Clone(), string(body)})
	answer := Problem(http.StatusNotFound, "NOT_FOUND", "there is no such thing")
	if queue := a.answers[line]; len(queue) > 0 {
		answer = queue[0]
		if len(queue) > 1 {
			a.answers[line] = queue[1:]
		}
	}
	a.mu.Unlock()
	answer.give(w, r)
}

func (answer Answer) give(w http.ResponseWriter, r *http.Request) {
	if answer.Before != nil {
		answer.Before()
	}
	select {
	case <-time.After(answer.Delay):
	case <-r.Context().Done():
	}
	if answer.Reset {
		connection, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = connection.Close()
		}
		return
	}
	for name, value := range answer.Header {
		w.Header().Set(name, value)
	}
	if answer.Type != "" {
		w.Header().Set("Content-Type", answer.Type)
	}
	if answer.Truncated {
		w.Header().Set("Content-Length", strconv.Itoa(len(answer.Body)+100))
	}
	w.WriteHeader(answer.Status)
	_, _ = io.WriteString(w, answer.Body)
}

// JSON answers 200 with a value.
func JSON(value any) Answer {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // a test's mistake
	}
	return Answer{Status: http.StatusOK, Type: "application/json", Body: string(text)}
}

// Status answers 200 with the one attribute that replication and finalization have.
func Status(status string) Answer { return JSON(map[string]string{"status": status}) }

// Accepted answers 202.
func Accepted() Answer {
	return Answer{Status: http.StatusAccepted, Header: map[string]string{"Location": "/v1/here"}}
}

// Problem answers with problem details.
func Problem(status int, code, detail string) Answer {
	answer := JSON(map[string]any{
		"type": "about:blank", "title": http.StatusText(status), "status": status,
		"code": code, "detail": detail, "request_id": "req-1",
	})
	answer.Status, answer.Type = status, "application/problem+json"
	return answer
}

// HTML answers with a web page.
func HTML(status int) Answer {
	return Answer{Status: status, Type: "text/html; charset=utf-8", Body: "<!DOCTYPE html><html><title>Sign in</title></html>"}
}

// NoRoute answers as Cloud Foundry's router does when nobody is there.
func NoRoute() Answer {
	return Answer{
		Status: http.StatusNotFound, Type: "text/plain; charset=utf-8", Body: "404 Not Found: Requested route does not exist.\n",
		Header: map[string]string{"X-Cf-Routererror": "unknown_route"},
	}
}

// Redirect answers with a way to another place.
func Redirect(to string) Answer {
	return Answer{Status: http.StatusFound, Header: map[string]string{"Location": to}}
}

// Truncated answers 200 with half a document.
func Truncated() Answer {
	return Answer{Status: http.StatusOK, Type: "application/json", Body: `{"status": "IN-S`, Truncated: true}
}

// Large answers 200 with a document of that many bytes.
func Large(bytes int) Answer {
	return Answer{Status: http.StatusOK, Type: "application/json", Body: `{"status": "` + strings.Repeat("x", bytes) + `"}`}
}

// Reset closes the connection.
func Reset() Answer { return Answer{Reset: true} }
