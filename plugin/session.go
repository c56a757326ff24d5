package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"regexp"
	"strings"
	"time"

	plugin_models "code.cloudfoundry.org/cli/plugin/models"
	"golang.org/x/sync/errgroup"

	"github.com/cf-pg-migrate/cf-pg-migrate/commands"
)

const (
	// callLimit is the time for one call to cf. cf itself has none, and waits for a server that is silent.
	callLimit = 30 * time.Second

	// grace is how long a signal may take to arrive after cf, which it ended too, is gone.
	grace = 200 * time.Millisecond
)

// connection is what the plugin uses of cf. None of it needs the V2 API, and all of it is in the list of calls that
// the next plugin interface of cf keeps.
type connection interface {
	IsLoggedIn() (bool, error)
	ApiEndpoint() (string, error)
	IsSSLDisabled() (bool, error)
	Username() (string, error)
	GetCurrentOrg() (plugin_models.Organization, error)
	GetCurrentSpace() (plugin_models.Space, error)
	AccessToken() (string, error)
}

// session is the session of the cf process that started the plugin. It may be used by several goroutines at once.
type session struct {
	cf    connection
	limit time.Duration

	// turn holds one token: cf asks the login server once for each of several calls at once, and a refresh token may be
	// good for one use only.
	turn chan struct{}
}

func newSession(cf connection) *session {
	return &session{cf: cf, limit: callLimit, turn: make(chan struct{}, 1)}
}

// Login asks cf for all at once: each call is a connection of its own.
func (s *session) Login(ctx context.Context) (commands.Login, error) {
	return within(ctx, s.limit, s.login)
}

func (s *session) login() (commands.Login, error) {
	var login commands.Login
	var org plugin_models.Organization
	var space plugin_models.Space
	var calls errgroup.Group
	calls.Go(func() (err error) { login.LoggedIn, err = s.cf.IsLoggedIn(); return named("the login", err) })
	calls.Go(func() (err error) { login.API, err = s.cf.ApiEndpoint(); return named("the API", err) })
	calls.Go(func() (err error) {
		login.SkipSSLValidation, err = s.cf.IsSSLDisabled()
		return named("its TLS setting", err)
	})
	calls.Go(func() (err error) { login.User, err = s.cf.Username(); return named("the user", err) })
	calls.Go(func() (err error) { org, err = s.cf.GetCurrentOrg(); return named("the org", err) })
	calls.Go(func() (err error) { space, err = s.cf.GetCurrentSpace(); return named("the space", err) })
	if err := calls.Wait(); err != nil {
		return commands.Login{}, err
	}
	login.Org = commands.Place{Name: org.Name, GUID: org.Guid}
	login.Space = commands.Place{Name: space.Name, GUID: space.Guid}
	return login, nil
}

// named says what cf was asked for.
func named(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("asking cf for %s: %w", what, gone(err))
}

// AccessToken gives the token without its prefix. cf renews it when it is about to end.
func (s *session) AccessToken(ctx context.Context) (string, error) {
	timer := time.NewTimer(s.limit)
	defer timer.Stop()
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case <-timer.C:
		return "", silent(s.limit)
	}
	return within(ctx, s.limit, func() (string, error) {
		defer func() { <-s.turn }() // not before cf has answered, however late
		token, err := s.cf.AccessToken()
		if err != nil {
			return "", tokenError(err)
		}
		return bare(token)
	})
}

// bare takes the prefix from a token.
func bare(token string) (string, error) {
	const prefix = "bearer "
	if len(token) >= len(prefix) && strings.EqualFold(token[:len(prefix)], prefix) {
		token = token[len(prefix):]
	}
	if token = strings.TrimSpace(token); token == "" {
		return "", &commands.TokenError{Err: errors.New("it is empty")}
	}
	return token, nil
}

// within runs a call to cf, which knows no context, and leaves it alone when the time or the context is over.
func within[T any](ctx context.Context, limit time.Duration, call func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		value, err := call()
		answers <- answer{value, err}
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	var none T
	select {
	case a := <-answers:
		if errors.Is(a.err, commands.ErrGone) {
			select { // Ctrl-C ends cf first: the signal is the better reason
			case <-ctx.Done():
				return none, context.Cause(ctx)
			case <-time.After(grace):
			}
		}
		return a.value, a.err
	case <-ctx.Done():
		return none, context.Cause(ctx)
	case <-timer.C:
		return none, silent(limit)
	}
}

func silent(limit time.Duration) error {
	return &commands.TokenError{Temporary: true, Err: fmt.Errorf("no answer within %s", limit)}
}

// gone gives [commands.ErrGone] for an error that says that nobody listens to cf's port any more.
func gone(err error) error {
	var network *net.OpError
	if errors.As(err, &network) || errors.Is(err, rpc.ErrShutdown) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return commands.ErrGone
	}
	return err
}

// passing matches what Go's network packages and cf's answers of servers say when it may work in a moment. cf passes
// texts only, and translates its own; these parts are in English everywhere.
var passing = regexp.MustCompile(`\b5\d\d\b|dial tcp|connection re|EOF|[Tt]imeout|no such host|network is unreachable`)

// tokenError says what it means that cf gave no token.
func tokenError(err error) error {
	if errors.Is(gone(err), commands.ErrGone) {
		return commands.ErrGone
	}
	text := strings.Join(strings.Fields(err.Error()), " ")
	switch {
	case strings.Contains(text, "compact JWS"):
		text = "you are not logged in"
	case strings.Contains(text, "grant type"), strings.Contains(text, "Bad credentials"):
		text += ". A login of this kind cannot be renewed by cf for a plugin"
	}
	return &commands.TokenError{Temporary: passing.MatchString(text), Err: errors.New(text)}
}
