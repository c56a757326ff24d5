package plugin

import (
	"context"
	"errors"
	"io"
	"net"
	"net/rpc"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	plugin_models "code.cloudfoundry.org/cli/plugin/models"

	"github.com/cf-pg-migrate/cf-pg-migrate/commands"
)

// fakeCF is cf with a login.
type fakeCF struct {
	token   func() (string, error)
	broken  error
	orgName string
}

func (c *fakeCF) IsLoggedIn() (bool, error)    { return true, c.broken }
func (c *fakeCF) ApiEndpoint() (string, error) { return "https://api.cf.example.com", nil } //nolint:revive // var-naming: cf's own spelling
func (c *fakeCF) IsSSLDisabled() (bool, error) { return true, nil }
func (c *fakeCF) Username() (string, error)    { return "jane", nil }

func (c *fakeCF) GetCurrentOrg() (plugin_models.Organization, error) {
	return plugin_models.Organization{OrganizationFields: plugin_models.OrganizationFields{Guid: "o", Name: c.orgName}}, nil
}

func (c *fakeCF) GetCurrentSpace() (plugin_models.Space, error) {
	return plugin_models.Space{SpaceFields: plugin_models.SpaceFields{Guid: "s", Name: "prod"}}, nil
}

func (c *fakeCF) AccessToken() (string, error) { return c.token() }

func TestLogin(t *testing.T) {
	login, err := newSession(&fakeCF{orgName: "acme"}).Login(t.Context())
	want := commands.Login{
		LoggedIn: true, API: "https://api.cf.example.com", SkipSSLValidation: true, User: "jane",
		Org: commands.Place{Name: "acme", GUID: "o"}, Space: commands.Place{Name: "prod", GUID: "s"},
	}
	if err != nil || login != want {
		t.Errorf("got %+v, %v", login, err)
	}
	_, err = newSession(&fakeCF{broken: errors.New("no")}).Login(t.Context())
	if err == nil || err.Error() != "asking cf for the login: no" {
		t.Errorf("got %v", err)
	}
	_, err = newSession(&fakeCF{broken: &net.OpError{Op: "dial"}}).Login(t.Context())
	if !errors.Is(err, commands.ErrGone) {
		t.Errorf("got %v", err)
	}
}

// TestToken: what cf says instead of a token, and what it means (traps P3 and P6).
func TestToken(t *testing.T) {
	for name, test := range map[string]struct {
		token     string
		err       error
		want      string
		gone      bool
		temporary bool
		text      string
	}{
		"lower case":    {token: "bearer abc", want: "abc"},
		"upper case":    {token: "Bearer  abc ", want: "abc"},
		"bare":          {token: "abc", want: "abc"},
		"empty":         {token: "bearer ", text: "empty"},
		"nobody there":  {err: &net.OpError{Op: "dial", Err: errors.New("refused")}, gone: true},
		"shut down":     {err: rpc.ErrShutdown, gone: true},
		"cut off":       {err: io.ErrUnexpectedEOF, gone: true},
		"not logged in": {err: rpc.ServerError("square/go-jose: compact JWS format must have three parts, not a compact JWS"), text: "not logged in"},
		"dead":          {err: rpc.ServerError("Authentication has expired.  Please log back in to re-authenticate.\n\nTIP: Use `cf login`"), text: "Authentication has expired. Please"},
		"client":        {err: rpc.ServerError("Server error, status code: 401, error code: unauthorized, message: Bad credentials"), text: "cannot be renewed"},
		"jwt bearer":    {err: rpc.ServerError("Server error, status code: 400, error code: invalid_request, message: Missing grant type"), text: "cannot be renewed"},
		"busy":          {err: rpc.ServerError("Server error, status code: 503, error code: , message: "), temporary: true, text: "503"},
		"no network":    {err: rpc.ServerError("Post x: dial tcp: lookup uaa: no such host"), temporary: true, text: "no such host"},
		"silent server": {err: rpc.ServerError("net/http: TLS handshake timeout"), temporary: true, text: "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSession(&fakeCF{token: func() (string, error) { return test.token, test.err }})
			got, err := s.AccessToken(t.Context())
			if got != test.want || errors.Is(err, commands.ErrGone) != test.gone {
				t.Fatalf("got %q, %v", got, err)
			}
			var failure *commands.TokenError
			if errors.As(err, &failure) != (test.text != "") {
				t.Fatalf("got %v", err)
			}
			if failure != nil && (failure.Temporary != test.temporary || !strings.Contains(err.Error(), test.text) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("got %v, temporary %v", err, failure.Temporary)
			}
		})
	}
}

// TestTokensOneAtATime asks cf for several tokens at once (trap P7).
func TestTokensOneAtATime(t *testing.T) {
	var running, most atomic.Int32
	s := newSession(&fakeCF{token: func() (string, error) {
		most.Store(max(most.Load(), running.Add(1)))
		time.Sleep(5 * time.Millisecond)
		running.Add(-1)
		return "abc", nil
	}})
	done := make(chan error)
	for range 5 {
		go func() {
			_, err := s.AccessToken(t.Context())
			done <- err
		}()
	}
	for range 5 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if most.Load() != 1 {
		t.Errorf("%d at once", most.Load())
	}
}

// TestASilentCF waits for a cf that never answers (trap P8).
func TestASilentCF(t *testing.T) {
	answer := make(chan struct{})
	defer close(answer)
	s := newSession(&fakeCF{token: func() (string, error) { <-answer; return "abc", nil }})
	s.limit = 20 * time.Millisecond
	for range 2 { // the second waits for its turn in vain
		_, err := s.AccessToken(t.Context())
		var failure *commands.TokenError
		if !errors.As(err, &failure) || !failure.Temporary || !strings.Contains(err.Error(), "no answer within 20ms") {
			t.Errorf("got %v", err)
		}
	}
	s.limit = time.Hour
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(commands.ErrInterrupted)
	if _, err := s.AccessToken(ctx); !errors.Is(err, commands.ErrInterrupted) {
		t.Errorf("got %v", err)
	}
	if _, err := within(ctx, time.Hour, func() (string, error) { <-answer; return "", nil }); !errors.Is(err, commands.ErrInterrupted) {
		t.Errorf("got %v", err)
	}
}

// TestCtrlCIsTheBetterReason: Ctrl-C ends cf, too, and cf may be gone first (trap P5).
func TestCtrlCIsTheBetterReason(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	s := newSession(&fakeCF{token: func() (string, error) {
		time.AfterFunc(20*time.Millisecond, func() { cancel(commands.ErrInterrupted) })
		return "", &net.OpError{Op: "dial", Err: errors.New("refused")}
	}})
	if _, err := s.AccessToken(ctx); !errors.Is(err, commands.ErrInterrupted) {
		t.Errorf("got %v", err)
	}
}

// TestWatch ends a context at a signal, and when the parent is gone (trap P5).
func TestWatch(t *testing.T) {
	for name, test := range map[string]struct {
		signal bool
		want   error
	}{
		"signal":      {true, commands.ErrInterrupted},
		"parent gone": {false, commands.ErrGone},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		signals := make(chan os.Signal, 1)
		var parent atomic.Int32
		parent.Store(42)
		every := time.Millisecond
		if test.signal {
			signals <- os.Interrupt
			every = time.Hour
		} else {
			time.AfterFunc(10*time.Millisecond, func() { parent.Store(1) })
		}
		watch(ctx, cancel, signals, func() int { return int(parent.Load()) }, every)
		if !errors.Is(context.Cause(ctx), test.want) {
			t.Errorf("%s: %v", name, context.Cause(ctx))
		}
	}
	ctx, cancel := untilSignal(t.Context())
	cancel()
	if ctx.Err() == nil {
		t.Error("goes on")
	}
}
