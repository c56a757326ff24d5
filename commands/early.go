package commands

import (
	"context"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/client"
)

// earlyLimit is how old a token may be that was asked for early. A prompt may have stood for longer.
const earlyLimit = 10 * time.Second

// earlyTokens is a source whose first token is asked of cf at once, while cf is asked for the rest, too: each question to
// cf is a connection of its own.
type earlyTokens struct {
	client.TokenSource
	clock Clock
	first chan earlyToken // gets one and is closed then
}

type earlyToken struct {
	token string
	err   error
	at    time.Time
}

func askEarly(ctx context.Context, source client.TokenSource, clock Clock) *earlyTokens {
	e := &earlyTokens{source, clock, make(chan earlyToken, 1)}
	go func() {
		defer close(e.first)
		token, err := source.AccessToken(ctx)
		e.first <- earlyToken{token, err, clock.Now()}
	}()
	return e
}

// AccessToken gives the early token once, as long as it is fresh, and asks cf after that.
func (e *earlyTokens) AccessToken(ctx context.Context) (string, error) {
	select {
	case early, is := <-e.first:
		if is && e.clock.Now().Sub(early.at) < earlyLimit {
			return early.token, early.err
		}
		return e.TokenSource.AccessToken(ctx)
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// settle waits for the answer of cf, which may be renewing the token just now and must not be left in the middle of it.
func (e *earlyTokens) settle() {
	for range e.first {
	}
}
