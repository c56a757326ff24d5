package commands

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cf-pg-migrate/cf-pg-migrate/client"
)

// Code is the cause of a failure, for scripts: error.code of the JSON document. Codes never change their meaning.
type Code string

// The codes.
const (
	Usage             Code = "USAGE"
	NotLoggedIn       Code = "NOT_LOGGED_IN"
	NoSpace           Code = "NO_SPACE"
	NoTarget          Code = "NO_TARGET"
	NoAPI             Code = "NO_API"
	NotFound          Code = "NOT_FOUND"
	NotAuthorized     Code = "NOT_AUTHORIZED"
	Conflict          Code = "CONFLICT"
	PreflightCritical Code = "PREFLIGHT_CRITICAL"
	MigrationFailed   Code = "MIGRATION_FAILED"
	UnknownStatus     Code = "UNKNOWN_STATUS"
	Timeout           Code = "TIMEOUT"
	Unavailable       Code = "UNAVAILABLE"
	BadResponse       Code = "BAD_RESPONSE"
	BadConfig         Code = "CONFIG"
	Cancelled         Code = "CANCELLED"
	Internal          Code = "INTERNAL"
)

// Failure is an error as a person and a script get it. Every failure means exit status 1: cf passes on no other.
type Failure struct {
	Code      Code   `json:"code"`
	Message   string `json:"message"`
	Hint      string `json:"hint,omitempty"`
	RequestID string `json:"request_id,omitempty"`

	// err is the cause; may be nil.
	err error
}

// Error gives the message.
func (f *Failure) Error() string { return f.Message }

// Unwrap gives the cause.
func (f *Failure) Unwrap() error { return f.err }

// ConfigError says that what was saved cannot be read or written.
type ConfigError struct {
	Path string
	Hint string
	Err  error
}

// Error names the file.
func (e *ConfigError) Error() string { return fmt.Sprintf("%s: %v", e.Path, e.Err) }

// Unwrap gives the cause.
func (e *ConfigError) Unwrap() error { return e.Err }

// describe is the one place that says what an error means to people and scripts.
func (i *invocation) describe(err error) *Failure {
	var failure *Failure
	var answer *client.Error
	var token *TokenError
	var config *ConfigError
	switch {
	case errors.As(err, &failure):
		return failure
	case errors.Is(err, ErrInterrupted):
		return &Failure{Code: Cancelled, Message: "Stopped." + i.goesOn, err: err}
	case errors.As(err, &answer):
		return i.describeAnswer(answer, err)
	case errors.As(err, &token) && token.Temporary:
		return &Failure{Code: Unavailable, Message: sentence(err), Hint: "Try again in a moment.", err: err}
	case errors.As(err, &token):
		return &Failure{
			Code: NotLoggedIn, Message: sentence(err) + i.goesOn, err: err,
			Hint: "Log in again with 'cf login' or 'cf auth', then repeat the command.",
		}
	case errors.As(err, &config):
		return &Failure{Code: BadConfig, Message: sentence(err), Hint: config.Hint, err: err}
	default:
		return &Failure{Code: Internal, Message: sentence(err), Hint: "Try again with CF_TRACE=FILE, which shows what was asked and answered.", err: err}
	}
}

// describeAnswer says what a failed call of an API means.
func (i *invocation) describeAnswer(answer *client.Error, err error) *Failure {
	f := &Failure{Message: sentence(err), RequestID: answer.RequestID, err: err}
	names := fmt.Sprintf("Check the names with '%s target' and 'cf services'.", i.Program)
	api := "Check the address of the migration API with '" + i.Program + " api'."
	switch answer.Kind {
	case client.Unavailable:
		f.Code, f.Hint = Unavailable, "Try again in a moment. "+api
		if answer.Untrusted() {
			f.Hint = "If the server is the right one, name its CA with '" + i.Program + " api URL --ca-cert FILE'."
		}
	case client.NoService:
		f.Code, f.Hint = NoAPI, api
	case client.NotAuthorized:
		f.Code, f.Hint = NotAuthorized, i.rights()
	case client.NotFound:
		f.Code, f.Hint = NotFound, names
	case client.Conflict:
		f.Code, f.Hint = Conflict, fmt.Sprintf("Look with '%s replication'.", i.Program)
		if strings.Contains(answer.Code, "KEY") {
			f.Hint = names
		}
	case client.BadResponse:
		f.Code, f.Hint = BadResponse, api
	default:
		f.Code, f.Hint = Internal, "Plugin and service do not understand each other: look for a newer version of the plugin."
	}
	if i.namesNext(answer.Message) {
		f.Hint = ""
	}
	return f
}

// namesNext tells whether a text of the service names the next command already.
func (i *invocation) namesNext(text string) bool { return strings.Contains(text, "'"+i.Program+" ") }

// rights names who was refused where, and what helps.
func (i *invocation) rights() string {
	if i.login.Space.Name == "" {
		return "Log in again with 'cf login' or 'cf auth'."
	}
	who := "you are"
	if i.login.User != "" {
		who = i.login.User + " is"
	}
	return fmt.Sprintf("Check that %s a space developer in org %s / space %s, and log in again with 'cf login' or 'cf auth' if the session is old.",
		who, i.login.Org.Name, i.login.Space.Name)
}

// sentence makes a sentence of an error's text.
func sentence(err error) string { return ended(err.Error()) }

// ended makes a sentence of a text.
func ended(message string) string {
	text := []rune(message)
	if len(text) == 0 {
		return ""
	}
	if text[0] >= 'a' && text[0] <= 'z' {
		text[0] += 'A' - 'a'
	}
	if last := text[len(text)-1]; last != '.' && last != '!' && last != '?' {
		text = append(text, '.')
	}
	return string(text)
}

func isKind(err error, kind client.Kind) bool {
	var answer *client.Error
	return errors.As(err, &answer) && answer.Kind == kind
}
