package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/cloudfoundry"
)

// bodyBytes is the largest body; the six names need a fraction of it.
const bodyBytes = 64 << 10

// parameters are the six names that come with every request.
var parameters = []string{
	"org", "space",
	"source_service_instance_name", "target_service_instance_name", "source_service_key_name", "target_service_key_name",
}

// requestError is a request that does not keep the contract.
type requestError struct {
	status int
	text   string
}

func (e *requestError) Error() string { return e.text }

func badRequest(format string, args ...any) error {
	return &requestError{status: http.StatusBadRequest, text: fmt.Sprintf(format, args...)}
}

type handler func(http.ResponseWriter, *http.Request, call) error

// withNames reads the names from the query.
func (s *server) withNames(next handler, additional ...string) http.HandlerFunc {
	return s.handled(func(w http.ResponseWriter, r *http.Request, c call) error {
		query, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return badRequest("The query cannot be understood")
		}
		for name, given := range query {
			switch {
			case !slices.Contains(parameters, name) && !slices.Contains(additional, name):
				return unknown(name, additional)
			case len(given) != 1:
				return badRequest("Parameter '%s' is given %d times", name, len(given))
			}
		}
		c.given = query
		if c.names, err = names(query); err != nil {
			return err
		}
		return next(w, r, c)
	})
}

// withBody reads the names from a JSON body.
func (s *server) withBody(next handler, additional ...string) http.HandlerFunc {
	return s.handled(func(w http.ResponseWriter, r *http.Request, c call) error {
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
			return &requestError{http.StatusUnsupportedMediaType, "The body must be JSON, with the header 'Content-Type: application/json'"}
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyBytes))
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return &requestError{http.StatusRequestEntityTooLarge, fmt.Sprintf("The body is larger than %d bytes", bodyBytes)}
		}
		if err != nil {
			return badRequest("The body cannot be read")
		}
		fields, err := decodeObject(body)
		if err != nil {
			return err
		}
		c.given = url.Values{}
		for name, raw := range fields {
			switch {
			case slices.Contains(parameters, name):
				var value string
				if err := json.Unmarshal(raw, &value); err != nil || string(raw) == "null" {
					return badRequest("Parameter '%s' must be a text", name)
				}
				c.given.Set(name, value)
			case name == "clean_target" && slices.Contains(additional, name):
				if err := json.Unmarshal(raw, &c.cleanTarget); err != nil || string(raw) == "null" {
					return badRequest("Parameter '%s' must be true or false", name)
				}
			default:
				return unknown(name, additional)
			}
		}
		if c.names, err = names(c.given); err != nil {
			return err
		}
		return next(w, r, c)
	})
}

// decodeObject reads exactly one JSON object, each of whose members is there once.
func decodeObject(body []byte) (map[string]json.RawMessage, error) {
	malformed := badRequest("The body is not a JSON object")
	decoder := json.NewDecoder(bytes.NewReader(body))
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return nil, malformed
	}
	fields := map[string]json.RawMessage{}
	for decoder.More() {
		token, err := decoder.Token()
		name, isName := token.(string)
		if err != nil || !isName {
			return nil, malformed
		}
		if _, again := fields[name]; again {
			return nil, badRequest("Parameter '%s' is given twice", name)
		}
		var raw json.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			return nil, malformed
		}
		fields[name] = raw
	}
	if end, err := decoder.Token(); err != nil || end != json.Delim('}') {
		return nil, malformed
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, malformed
	}
	return fields, nil
}

func unknown(name string, additional []string) error {
	return badRequest("Parameter '%s' is unknown; those known are %s", name, strings.Join(append(slices.Clone(parameters), additional...), ", "))
}

func names(given url.Values) (cloudfoundry.Names, error) {
	for _, name := range parameters {
		if !given.Has(name) {
			return cloudfoundry.Names{}, badRequest("Parameter '%s' is missing", name)
		} else if strings.TrimSpace(given.Get(name)) == "" {
			return cloudfoundry.Names{}, badRequest("Parameter '%s' is empty", name)
		}
	}
	return cloudfoundry.Names{
		Org: given.Get("org"), Space: given.Get("space"),
		SourceInstance: given.Get("source_service_instance_name"), SourceKey: given.Get("source_service_key_name"),
		TargetInstance: given.Get("target_service_instance_name"), TargetKey: given.Get("target_service_key_name"),
	}, nil
}

// token takes the bearer token from the header (RFC 6750, 2.1; the scheme's case does not matter).
func token(r *http.Request) (string, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "bearer") || token == "" || strings.ContainsAny(token, " \t") {
		return "", &requestError{http.StatusUnauthorized, "The header 'Authorization: Bearer TOKEN' is missing; 'cf oauth-token' prints a token"}
	}
	return token, nil
}
