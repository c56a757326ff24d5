package commands

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path"
	"strings"

	"github.com/cf-pg-migrate/cf-pg-migrate/client"
)

// addressVariable is the environment variable that wins over every other address.
const addressVariable = "PG_MIGRATE_API"

// Origin says where the address of the migration API comes from.
type Origin string

// The origins.
const (
	FromEnvironment Origin = "environment"
	FromStore       Origin = "saved"
	FromCloud       Origin = "derived"
)

// address is where the migration API is, and how to trust it.
type address struct {
	url               *url.URL
	origin            Origin
	skipSSLValidation bool
	caCert            string // a path; may be empty
}

// address finds the migration API: the environment first, then what was saved, then what follows from the CF API.
func (i *invocation) address() (*address, error) {
	saved, isSaved, err := i.Store.API(i.login.API)
	if err != nil {
		return nil, err
	}
	found := &address{skipSSLValidation: i.login.SkipSSLValidation}
	trust := func() {
		found.skipSSLValidation = found.skipSSLValidation || saved.SkipSSLValidation
		found.caCert = saved.CACert
	}
	if text := i.Getenv(addressVariable); text != "" {
		found.origin = FromEnvironment
		if found.url, err = parseAddress(text); err != nil {
			return nil, &Failure{
				Code: BadConfig, Message: fmt.Sprintf("%s in the environment is no address of the migration API: %v.", addressVariable, err), err: err,
				Hint: "Correct it, or unset it to use the address that '" + i.Program + " api' shows then.",
			}
		}
		if isSaved && found.url.String() == saved.URL {
			trust()
		}
		return found, nil
	}
	if isSaved {
		found.origin = FromStore
		trust()
		if found.url, err = parseAddress(saved.URL); err != nil {
			return nil, &Failure{
				Code: BadConfig, Message: fmt.Sprintf("The saved address %q is no address of the migration API: %v.", saved.URL, err), err: err,
				Hint: "Set it again with '" + i.Program + " api URL'.",
			}
		}
		return found, nil
	}
	found.origin = FromCloud
	if found.url = deriveAddress(i.login.API); found.url == nil {
		return nil, &Failure{
			Code: NoAPI, Message: fmt.Sprintf("The address of the migration API does not follow from %s.", i.login.API),
			Hint: "Set it with '" + i.Program + " api URL'.",
		}
	}
	return found, nil
}

// document is the address for --json.
func (a *address) document() *APIDocument {
	return &APIDocument{URL: a.url.String(), Origin: a.origin, SkipSSLValidation: a.skipSSLValidation, CACert: a.caCert}
}

// parseAddress reads an address of an API: https, or http to this very machine, and nothing besides host and path. A
// trailing slash or /v1 is taken away.
func parseAddress(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("it is not a URL")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("it does not begin with https://")
	case u.Hostname() == "":
		return nil, errors.New("it names no host")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return nil, errors.New("http without encryption is for this machine's own addresses only, use https")
	case u.User != nil:
		return nil, errors.New("it holds user information")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(text, "#"):
		return nil, errors.New("it holds a query or a fragment")
	}
	clean := path.Clean("/" + u.Path)
	clean = strings.TrimSuffix(clean, "/v1")
	return &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host), Path: strings.TrimSuffix(clean, "/")}, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// deriveAddress gives https://pg-migrate.cf.LANDSCAPE for https://api.cf.LANDSCAPE, and nil for any other form: the
// token must not go to a guessed host.
func deriveAddress(cfAPI string) *url.URL {
	u, err := url.Parse(cfAPI)
	if err != nil || u.Scheme != "https" || u.User != nil || u.Port() != "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil
	}
	rest, found := strings.CutPrefix(strings.ToLower(u.Host), "api.cf.")
	if !found || strings.Trim(rest, ".") == "" {
		return nil
	}
	return &url.URL{Scheme: "https", Host: "pg-migrate.cf." + rest}
}

// sameDomain tells whether an address is below the domain of the CF API, or on this very machine.
func sameDomain(text, cfAPI string) bool {
	u, err := url.Parse(text)
	cf, cfErr := url.Parse(cfAPI)
	if err != nil || cfErr != nil {
		return false
	}
	_, domain, found := strings.Cut(strings.ToLower(cf.Hostname()), ".")
	return isLoopback(u.Hostname()) || found && strings.HasSuffix(strings.ToLower(u.Hostname()), "."+domain)
}

// migrations makes a client of the migration API.
func (i *invocation) migrations(a *address, tokens client.TokenSource) (*client.Migrations, error) {
	options := client.Options{
		URL:               a.url,
		Tokens:            tokens,
		UserAgent:         i.UserAgent,
		SkipSSLValidation: a.skipSSLValidation,
		Trace:             i.Trace,
		Sleep:             i.Clock.Sleep,
	}
	if a.caCert != "" {
		pem, err := os.ReadFile(a.caCert)
		if err != nil {
			return nil, caFailure(i.Program, err)
		}
		options.CACert = pem
	}
	made, err := client.NewMigrations(options)
	if err != nil {
		return nil, caFailure(i.Program, fmt.Errorf("reading %s: %w", a.caCert, err))
	}
	return made, nil
}

func caFailure(program string, err error) *Failure {
	return &Failure{
		Code: BadConfig, Message: fmt.Sprintf("The CA certificate cannot be used: %v.", err), err: err,
		Hint: "Name another one with '" + program + " api URL --ca-cert FILE'.",
	}
}
