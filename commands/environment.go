package commands

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/client"
	"github.com/cf-pg-migrate/cf-pg-migrate/ui"
)

// Environment is all that commands need of the world around them.
type Environment struct {
	// Program is how the plugin is called in texts: "cf pg-migrate".
	Program string

	// Version of the plugin, semantic, without a leading v.
	Version string

	// UserAgent names the plugin to servers.
	UserAgent string

	Streams *ui.Streams
	Session Session
	Store   Store
	Clock   Clock

	// Getenv reads the environment.
	Getenv func(name string) string

	// Trace gets requests and answers without secrets; nil for none.
	Trace io.Writer
}

// Session is the session of the cf CLI.
type Session interface {
	// Login tells who is logged in where. It asks no server.
	Login(ctx context.Context) (Login, error)

	// The token is asked of cf each time. Errors are [ErrGone] or of type [*TokenError].
	client.TokenSource
}

// Login is who is logged in, and what is targeted.
type Login struct {
	LoggedIn bool

	// API is the address of the Cloud Foundry API; empty if none is set.
	API string

	// SkipSSLValidation tells that the user said so to cf.
	SkipSSLValidation bool

	// User is empty where cf cannot read it from the token.
	User string

	// What is targeted; empty names if nothing is.
	Org, Space Place
}

// Place is an org or a space.
type Place struct{ Name, GUID string }

// ErrGone says that the cf process that started the plugin is not there any more.
var ErrGone = errors.New("the cf CLI that started this command is gone")

// ErrInterrupted is the cause of a context that ended because of Ctrl-C or another signal.
var ErrInterrupted = errors.New("interrupted")

// TokenError says that cf gave no token.
type TokenError struct {
	// Temporary tells that it may work in a moment, without a new login.
	Temporary bool

	Err error
}

// Error gives the text of cf.
func (e *TokenError) Error() string { return "cf gave no access token: " + e.Err.Error() }

// Unwrap gives the error of cf.
func (e *TokenError) Unwrap() error { return e.Err }

// Store keeps what outlives a command. Names only, no secrets. Several processes may use it at once.
type Store interface {
	// Target gives the target saved for a space, and whether there is one.
	Target(cfAPI, spaceGUID string) (Target, bool, error)
	SaveTarget(cfAPI, spaceGUID string, target Target) error
	// RemoveTarget forgets the target and tells whether there was one.
	RemoveTarget(cfAPI, spaceGUID string) (bool, error)

	// API gives the address of the migration API saved for a foundation, and whether there is one.
	API(cfAPI string) (SavedAPI, bool, error)
	SaveAPI(cfAPI string, saved SavedAPI) error
	// RemoveAPI forgets the address and tells whether there was one.
	RemoveAPI(cfAPI string) (bool, error)
}

// Target is what a migration is about, by names.
type Target struct {
	SourceInstance string `json:"source_service_instance_name"`
	SourceKey      string `json:"source_service_key_name"`
	TargetInstance string `json:"target_service_instance_name"`
	TargetKey      string `json:"target_service_key_name"`
}

// SavedAPI is an address of the migration API with how to trust it.
type SavedAPI struct {
	URL               string `json:"url"`
	SkipSSLValidation bool   `json:"skip_ssl_validation,omitempty"`

	// CACert is the absolute path of a file with certificates in PEM; may be empty.
	CACert string `json:"ca_cert,omitempty"`
}

// Clock is the time.
type Clock interface {
	Now() time.Time

	// Sleep waits, or returns the context's cause when that is done.
	Sleep(ctx context.Context, d time.Duration) error
}

// SystemClock is the real time.
type SystemClock struct{}

// Now gives the time.
func (SystemClock) Now() time.Time { return time.Now() }

// Sleep waits, or returns the context's cause when that is done.
func (SystemClock) Sleep(ctx context.Context, d time.Duration) error { return client.Sleep(ctx, d) }
