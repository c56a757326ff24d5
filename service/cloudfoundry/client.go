// Package cloudfoundry finds out what a caller may do: with the caller's own token it looks up org, space, service instances
// and service keys at the Cloud Controller (API v3), and gives the credentials that the keys hold.
package cloudfoundry

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-resty/resty/v2"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
)

// Names are the six names of a request.
type Names struct {
	Org, Space                string
	SourceInstance, SourceKey string
	TargetInstance, TargetKey string
}

// Access is what a caller proved by being able to read both service keys.
type Access struct {
	SourceGUID, TargetGUID string // of the service instances
	Source, Target         database.Database
}

// Errors that decide on the HTTP status. Their texts are for the user.
type (
	// NotFoundError says which of the names does not exist, or cannot be seen by the caller.
	NotFoundError struct{ Text string }
	// ForbiddenError says that the token is not accepted or that its user may not read the keys.
	ForbiddenError struct{ Text string }
	// UnusableKeyError says what is missing in a service key.
	UnusableKeyError struct{ Text string }
	// UnavailableError says that the Cloud Controller cannot be asked now.
	UnavailableError struct{ Err error }
)

func (e *NotFoundError) Error() string    { return e.Text }
func (e *ForbiddenError) Error() string   { return e.Text }
func (e *UnusableKeyError) Error() string { return e.Text }
func (e *UnavailableError) Error() string {
	return "the Cloud Controller cannot be asked: " + e.Err.Error()
}

// Unwrap gives the cause.
func (e *UnavailableError) Unwrap() error { return e.Err }

const (
	requestTimeout = 20 * time.Second
	cacheTime      = 15 * time.Second
	cacheEntries   = 1000
)

// Client asks one foundation's Cloud Controller. It is safe for concurrent use.
type Client struct {
	http *resty.Client
	tls  TLSPolicy

	mu    sync.Mutex
	cache map[question]cached
}

// question is what was asked with which token, which itself is kept nowhere.
type question struct {
	token [sha256.Size]byte
	names Names
}

type cached struct {
	access Access
	until  time.Time
}

// New makes a client for the Cloud Controller at address. policy says how the databases are connected to.
func New(address string, skipSSLValidation bool, policy TLSPolicy) *Client {
	http := resty.New().
		SetBaseURL(strings.TrimSuffix(address, "/")).
		SetTimeout(requestTimeout).
		SetLogger(silent{}). // resty's own lines could hold parts of a request
		SetRedirectPolicy(resty.NoRedirectPolicy()).
		SetTLSClientConfig(&tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: skipSSLValidation}) //nolint:gosec // the operator's setting
	return &Client{http: http, tls: policy, cache: map[question]cached{}}
}

// silent is a resty.Logger that drops everything.
type silent struct{}

func (silent) Errorf(string, ...any) {}
func (silent) Warnf(string, ...any)  {}
func (silent) Debugf(string, ...any) {}

// Look finds everything that the names mean to the owner of the token. Errors: *NotFoundError, *ForbiddenError,
// *UnusableKeyError, *UnavailableError. An answer is kept for some seconds, so that polling does not load the platform.
func (c *Client) Look(ctx context.Context, token string, names Names) (Access, error) {
	asked := question{sha256.Sum256([]byte(token)), names}
	c.mu.Lock()
	hit, known := c.cache[asked]
	c.mu.Unlock()
	if known && time.Now().Before(hit.until) {
		return hit.access, nil
	}
	access, err := c.look(ctx, token, names)
	if err != nil {
		return Access{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.cache) >= cacheEntries {
		clear(c.cache)
	}
	c.cache[asked] = cached{access: access, until: time.Now().Add(cacheTime)}
	return access, nil
}

func (c *Client) look(ctx context.Context, token string, names Names) (Access, error) {
	org, err := c.one(ctx, token, "/v3/organizations", names.Org, nil, fmt.Sprintf("org %q", names.Org))
	if err != nil {
		return Access{}, err
	}
	space, err := c.one(ctx, token, "/v3/spaces", names.Space, url.Values{"organization_guids": {org}}, fmt.Sprintf("space %q in org %q", names.Space, names.Org))
	if err != nil {
		return Access{}, err
	}
	var access Access
	for _, side := range []struct {
		instance, key string
		guid          *string
		database      *database.Database
	}{
		{names.SourceInstance, names.SourceKey, &access.SourceGUID, &access.Source},
		{names.TargetInstance, names.TargetKey, &access.TargetGUID, &access.Target},
	} {
		*side.guid, err = c.one(ctx, token, "/v3/service_instances", side.instance, url.Values{"space_guids": {space}},
			fmt.Sprintf("service instance %q in space %q", side.instance, names.Space))
		if err != nil {
			return Access{}, err
		}
		what := fmt.Sprintf("service key %q of service instance %q", side.key, side.instance)
		key, err := c.one(ctx, token, "/v3/service_credential_bindings", side.key, url.Values{"type": {"key"}, "service_instance_guids": {*side.guid}}, what)
		if err != nil {
			return Access{}, err
		}
		credentials, err := c.details(ctx, token, key, what)
		if err != nil {
			return Access{}, err
		}
		if *side.database, err = c.tls.database(credentials, what); err != nil {
			return Access{}, err
		}
	}
	return access, nil
}

type resource struct {
	GUID string `json:"guid"`
	Name string `json:"name"`
}

// one gives the GUID of the only resource with that name.
func (c *Client) one(ctx context.Context, token, path, name string, filter url.Values, what string) (string, error) {
	query := url.Values{"per_page": {"2"}}
	for k, v := range filter {
		query[k] = v
	}
	// The list of names is split at commas after it was decoded, so a comma in a name is escaped twice.
	query.Set("names", strings.ReplaceAll(name, ",", "%2C"))
	var list struct {
		Resources []resource `json:"resources"`
	}
	if err := c.get(ctx, token, path+"?"+query.Encode(), &list, what); err != nil {
		return "", err
	}
	for _, r := range list.Resources {
		if r.Name == name && r.GUID != "" {
			return r.GUID, nil
		}
	}
	return "", &NotFoundError{Text: "There is no " + what + ", or you cannot see it"}
}

// details reads what a key holds. The Cloud Controller hides it with a 404 from who may not see it.
func (c *Client) details(ctx context.Context, token, guid, what string) (map[string]any, error) {
	var details struct {
		Credentials map[string]any `json:"credentials"`
	}
	err := c.get(ctx, token, "/v3/service_credential_bindings/"+url.PathEscape(guid)+"/details", &details, what)
	var notFound *NotFoundError
	if errors.As(err, &notFound) {
		return nil, &ForbiddenError{Text: "You may not read the credentials of " + what + "; that takes the role Space Developer"}
	}
	if err != nil {
		return nil, err
	}
	if details.Credentials == nil {
		return nil, &UnusableKeyError{Text: "The " + what + " holds no credentials; create it again"}
	}
	return details.Credentials, nil
}

func (c *Client) get(ctx context.Context, token, path string, into any, what string) error {
	response, err := c.http.R().SetContext(ctx).SetHeader("Accept", "application/json").SetAuthToken(token).
		ForceContentType("application/json"). // anything else is an error, and not an empty answer
		SetResult(into).Get(path)
	if err != nil && (response == nil || response.StatusCode() == 0) {
		return &UnavailableError{Err: errors.New("it cannot be reached")}
	}
	switch status := response.StatusCode(); {
	case status == http.StatusUnauthorized:
		return &ForbiddenError{Text: "Cloud Foundry refuses the token: it has expired or was revoked. Get a fresh one with 'cf oauth-token', or log in again"}
	case status == http.StatusForbidden:
		return &ForbiddenError{Text: "You may not read " + what}
	case status == http.StatusNotFound:
		return &NotFoundError{Text: "There is no " + what + ", or you cannot see it"}
	case status != http.StatusOK:
		return &UnavailableError{Err: fmt.Errorf("it answers with status %d", status)}
	case err != nil:
		return &UnavailableError{Err: errors.New("its answer cannot be understood")}
	}
	return nil
}
