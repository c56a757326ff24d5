package client

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Kind says what a failed call means to its caller.
type Kind int

// The kinds of failure.
const (
	Unavailable   Kind = iota + 1 // no answer, or one that says "not now": 429 and 5xx
	NoService                     // the router knows nobody at this address
	NotAuthorized                 // 401 or 403, with a token as fresh as there is
	NotFound                      // 404 of the service
	Conflict                      // 409: the state does not allow it
	BadResponse                   // an answer that is none: HTML, a redirect, cut off, too large, fields missing
	Refused                       // any other status: the request itself is not accepted
)

// Error is a call that failed.
type Error struct {
	Kind Kind

	// Doing says what was being done to what, as in "get the replication".
	Doing string

	// Status is the HTTP status of the answer, 0 if there was none.
	Status int

	// Code is the word by which the service names the failure; empty if it gave none.
	Code string

	// Message is for people. Text of the service stands in it as it came, control characters included.
	Message string

	// RequestID is how the service's operator finds the request in the logs; may be empty.
	RequestID string

	// RetryAfter is when the service wants to be asked again; 0 if it did not say.
	RetryAfter time.Duration

	// Err is the cause below HTTP, nil if there was an answer.
	Err error
}

// Error gives one line: what was done, and why it failed.
func (e *Error) Error() string {
	text := fmt.Sprintf("could not %s: %s", e.Doing, e.Message)
	if e.RequestID != "" {
		text += fmt.Sprintf(" (request %s)", e.RequestID)
	}
	return text
}

// Unwrap gives the cause below HTTP.
func (e *Error) Unwrap() error { return e.Err }

// Uncertain tells whether the service may have done what it was asked to do although no good answer came.
func (e *Error) Uncertain() bool {
	switch e.Kind {
	case BadResponse:
		return true
	case Unavailable:
		return e.Status != http.StatusTooManyRequests && !neverSent(e.Err)
	default:
		return false
	}
}

// Untrusted tells whether the server's certificate was the reason.
func (e *Error) Untrusted() bool {
	var certificate *tls.CertificateVerificationError
	return errors.As(e.Err, &certificate)
}

// neverSent tells whether a transport error came before the first byte of the request left.
func neverSent(err error) bool {
	var operation *net.OpError
	if errors.As(err, &operation) && operation.Op == "dial" {
		return true
	}
	var certificate *tls.CertificateVerificationError
	var name *net.DNSError
	return errors.As(err, &certificate) || errors.As(err, &name)
}

// tokenError says that a request could not even be sent, because there is no token for it. Like an Error it is told to people.
type tokenError struct {
	doing string
	err   error
}

func (e *tokenError) Error() string { return fmt.Sprintf("could not %s: %v", e.doing, e.err) }

func (e *tokenError) Unwrap() error { return e.err }
