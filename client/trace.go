package client

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"
)

// hidden stands in a trace where a secret was.
const hidden = "[PRIVATE DATA HIDDEN]"

// tracer writes each request and answer to out, without token and cookies.
type tracer struct {
	next http.RoundTripper
	out  io.Writer
	mu   sync.Mutex // one entry at a time
}

// RoundTrip sends the request on and writes both sides down.
func (t *tracer) RoundTrip(request *http.Request) (*http.Response, error) {
	shown := request.Clone(request.Context())
	redact(shown.Header)
	text, err := httputil.DumpRequestOut(shown, true)
	if err != nil {
		return nil, fmt.Errorf("tracing the request: %w", err)
	}
	t.write("REQUEST", text)
	sent := request.Clone(request.Context())
	sent.Body = shown.Body // the dump has read the body and left a copy

	response, err := t.next.RoundTrip(sent)
	if err != nil {
		t.write("FAILED", []byte(err.Error()))
		return nil, err
	}
	// What cannot be read here fails again for whoever reads next.
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxBody))
	t.write("RESPONSE", append(dumpHead(response), body...))
	response.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), response.Body), response.Body}
	return response, nil
}

// dumpHead gives the status line and the headers of an answer.
func dumpHead(response *http.Response) []byte {
	shown := *response
	shown.Header = response.Header.Clone()
	redact(shown.Header)
	text, err := httputil.DumpResponse(&shown, false)
	if err != nil {
		return []byte(response.Status + "\n")
	}
	return text
}

func (t *tracer) write(title string, text []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, "\n%s: [%s]\n%s\n", title, time.Now().Format(time.RFC3339), text)
}

// redact hides the values of headers that carry secrets.
func redact(header http.Header) {
	for _, name := range []string{"Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie"} {
		if header.Get(name) != "" {
			header.Set(name, hidden)
		}
	}
}
