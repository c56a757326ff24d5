package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-resty/resty/v2"
)

const (
	// maxBody is the most that is read of an answer, in bytes.
	maxBody = 4 << 20

	connectTimeout = 10 * time.Second
	requestTimeout = 30 * time.Second

	// A request that reads is sent at most this often, with waits from firstWait doubling up to longestWait.
	attempts    = 4
	firstWait   = 500 * time.Millisecond
	longestWait = 8 * time.Second

	// longestRetryAfter caps what the service asks for.
	longestRetryAfter = time.Minute
)

// TokenSource gives the OAuth token of the user.
type TokenSource interface {
	// AccessToken gives a token that is good at this moment, without a prefix such as "bearer".
	AccessToken(ctx context.Context) (string, error)
}

// Options say where a server is and how to talk to it.
type Options struct {
	// URL is the address below which all requests go.
	URL *url.URL

	// Tokens is asked before each request.
	Tokens TokenSource

	// UserAgent names the program.
	UserAgent string

	// SkipSSLValidation accepts any certificate.
	SkipSSLValidation bool

	// CACert holds certificates in PEM that are trusted besides the system's; may be nil.
	CACert []byte

	// Trace gets each request and answer, without the token; nil for no trace.
	Trace io.Writer

	// Sleep waits between two attempts, or until the context is done; a real wait if nil.
	Sleep func(ctx context.Context, d time.Duration) error
}

// sender sends requests with a token and judges the answers. It may be used by several goroutines at once.
type sender struct {
	base   *url.URL
	tokens TokenSource
	http   *resty.Client
	sleep  func(ctx context.Context, d time.Duration) error
}

func newSender(options Options) (*sender, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone() // honours the proxy variables
	transport.DialContext = (&net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second}).DialContext
	transport.TLSHandshakeTimeout = connectTimeout
	transport.TLSClientConfig = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: options.SkipSSLValidation, //nolint:gosec // G402: what --skip-ssl-validation asks for
	}
	if len(options.CACert) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(options.CACert) {
			return nil, errors.New("the CA certificate file holds no certificate in PEM")
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	var through http.RoundTripper = transport
	if options.Trace != nil {
		through = &tracer{next: transport, out: options.Trace}
	}
	sleep := options.Sleep
	if sleep == nil {
		sleep = Sleep
	}
	return &sender{
		base:   options.URL,
		tokens: options.Tokens,
		sleep:  sleep,
		http: resty.New().
			SetTransport(through).
			SetRedirectPolicy(resty.RedirectPolicyFunc(func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse // judge tells what to do about it
			})).
			SetResponseBodyLimit(maxBody).
			SetHeader("User-Agent", options.UserAgent).
			SetHeader("Accept", "application/json, application/problem+json").
			SetLogger(silent{}),
	}, nil
}

// Sleep waits for d, or until the context is done, and then returns its cause.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// request is one call of an API.
type request struct {
	doing   string // for errors: "get the replication"
	method  string
	path    []string
	query   map[string]string
	body    any           // sent as JSON if not nil
	timeout time.Duration // requestTimeout if zero
	accept  []int         // the statuses that mean success
	json    bool          // whether the answer has to be JSON
}

// send sends a request, again if it only reads and the failure may pass, and gives the body of the good answer.
func (s *sender) send(ctx context.Context, r request) ([]byte, error) {
	for attempt := 1; ; attempt++ {
		body, err := s.authorized(ctx, r)
		var failure *Error
		if err == nil || !errors.As(err, &failure) || r.method != http.MethodGet || attempt == attempts || !passing(failure) {
			return body, err
		}
		wait := min(firstWait<<(attempt-1), longestWait)
		wait = wait/2 + rand.N(wait/2) //nolint:gosec // G404: spreads the load, guards nothing
		wait = max(wait, min(failure.RetryAfter, longestRetryAfter))
		if s.sleep(ctx, wait) != nil {
			return nil, err
		}
	}
}

// passing tells whether the same request may succeed in a moment.
func passing(e *Error) bool {
	switch e.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	case 0:
		return !e.Untrusted() && !errors.Is(e.Err, context.DeadlineExceeded) && !errors.Is(e.Err, context.Canceled)
	default:
		return errors.Is(e.Err, io.ErrUnexpectedEOF)
	}
}

// authorized sends a request with the session's token, and once more if that was refused and the session has
// another one by then.
func (s *sender) authorized(ctx context.Context, r request) ([]byte, error) {
	token, err := s.tokens.AccessToken(ctx)
	if err != nil {
		return nil, &tokenError{doing: r.doing, err: err}
	}
	body, err := s.once(ctx, r, token)
	var failure *Error
	if !errors.As(err, &failure) || failure.Kind != NotAuthorized {
		return body, err
	}
	fresh, tokenErr := s.tokens.AccessToken(ctx)
	if tokenErr != nil || fresh == token {
		return nil, err
	}
	return s.once(ctx, r, fresh)
}

// once sends a request and judges the answer.
func (s *sender) once(ctx context.Context, r request, token string) ([]byte, error) {
	timeout := r.timeout
	if timeout == 0 {
		timeout = requestTimeout
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	call := s.http.R().SetContext(limited).SetAuthToken(token).SetQueryParams(r.query)
	if r.body != nil {
		call.SetHeader("Content-Type", "application/json").SetBody(r.body)
	}
	response, err := call.Execute(r.method, s.base.JoinPath(r.path...).String())
	if err != nil {
		if ctx.Err() != nil { // the caller's own limit, or Ctrl-C
			return nil, &Error{Kind: Unavailable, Doing: r.doing, Message: context.Cause(ctx).Error(), Err: context.Cause(ctx)}
		}
		return nil, s.broken(r, response, err, timeout)
	}
	if failure := judge(r, response); failure != nil {
		return nil, failure
	}
	return response.Body(), nil
}

// broken explains an exchange that did not come to its end.
func (s *sender) broken(r request, response *resty.Response, err error, timeout time.Duration) *Error {
	e := &Error{Kind: Unavailable, Doing: r.doing, Err: err}
	if response != nil && response.RawResponse != nil {
		e.Status = response.StatusCode()
		e.RequestID = requestID(response.Header())
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // without the six names of the query
	}
	switch {
	case errors.Is(err, resty.ErrResponseBodyTooLarge):
		e.Kind = BadResponse
		e.Message = fmt.Sprintf("the answer of %s is larger than %d MiB", s.base.Host, maxBody>>20)
	case errors.Is(err, context.DeadlineExceeded):
		e.Message = fmt.Sprintf("%s did not answer within %s", s.base.Host, timeout)
	case e.Status != 0 && e.Status < 300:
		e.Kind = BadResponse
		e.Message = fmt.Sprintf("the answer of %s was cut off: %v", s.base.Host, err)
	default:
		e.Message = fmt.Sprintf("%s cannot be reached: %v", s.base.Host, err)
	}
	return e
}

// judge gives nil for an answer that means success.
func judge(r request, response *resty.Response) *Error {
	if slices.Contains(r.accept, response.StatusCode()) && !looksLikeHTML(response) && (!r.json || isJSON(response)) {
		return nil
	}
	e := &Error{
		Doing:      r.doing,
		Status:     response.StatusCode(),
		RequestID:  requestID(response.Header()),
		RetryAfter: retryAfter(response.Header().Get("Retry-After"), time.Now()),
	}
	text := e.explain(response)
	host := response.Request.RawRequest.URL.Host
	switch status := e.Status; {
	case status < 300:
		e.Kind, text = BadResponse, fmt.Sprintf("%s answered %s with %s, which is not an answer of this API", host, response.Status(), contentType(response))
	case status < 400:
		e.Kind, text = BadResponse, fmt.Sprintf("%s redirects to %s, and redirects are not followed", host, location(response))
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		e.Kind = NotAuthorized
	case status == http.StatusNotFound && response.Header().Get("X-Cf-Routererror") != "":
		e.Kind, text = NoService, fmt.Sprintf("nothing is there at %s (%s)", host, response.Header().Get("X-Cf-Routererror"))
	case status == http.StatusNotFound && looksLikeHTML(response):
		e.Kind, text = BadResponse, fmt.Sprintf("%s answered %s with a web page, which is not an answer of this API", host, response.Status())
	case status == http.StatusNotFound:
		e.Kind = NotFound
	case status == http.StatusConflict:
		e.Kind = Conflict
	case status == http.StatusTooManyRequests || status >= 500:
		e.Kind = Unavailable
	default:
		e.Kind = Refused
	}
	if text == "" {
		text = fmt.Sprintf("%s answered %s", host, response.Status())
	}
	e.Message = text
	return e
}

// location is where a redirect leads, without anything that could be a secret.
func location(response *resty.Response) string {
	target, err := response.RawResponse.Location()
	if err != nil {
		return "an unknown place"
	}
	return target.Scheme + "://" + target.Host
}

// requestID is how the service, or the router before it, calls the request.
func requestID(header http.Header) string {
	for _, name := range []string{"X-Request-Id", "X-Correlation-Id", "X-Vcap-Request-Id"} {
		if id := header.Get(name); id != "" {
			return id
		}
	}
	return ""
}

// retryAfter reads the header of that name: seconds or a date.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(strings.TrimSpace(text)); err == nil && seconds > 0 {
		return time.Duration(min(seconds, 3600)) * time.Second
	}
	if date, err := http.ParseTime(text); err == nil && date.After(now) {
		return date.Sub(now)
	}
	return 0
}

// silent takes what resty has to say.
type silent struct{}

func (silent) Errorf(string, ...any) {}
func (silent) Warnf(string, ...any)  {}
func (silent) Debugf(string, ...any) {}
