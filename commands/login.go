package commands

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
	"github.com/cf-pg-migrate/cf-pg-migrate/client"
)

// needAPI asks cf for the session and refuses one that has no foundation.
func (i *invocation) needAPI(ctx context.Context) error {
	login, err := i.Session.Login(ctx)
	if err != nil {
		return fmt.Errorf("asking cf for its session: %w", err)
	}
	login.API = strings.TrimRight(login.API, "/")
	i.login = login
	if login.API == "" {
		return &Failure{Code: NotLoggedIn, Message: "No Cloud Foundry API is set.", Hint: "Set it with 'cf api URL' and log in with 'cf login'."}
	}
	return nil
}

// needSpace asks cf for the session and refuses one without a login, an org or a space.
func (i *invocation) needSpace(ctx context.Context) error {
	if err := i.needAPI(ctx); err != nil {
		return err
	}
	switch {
	case !i.login.LoggedIn:
		return &Failure{Code: NotLoggedIn, Message: "You are not logged in.", Hint: "Log in with 'cf login' or 'cf auth'."}
	case i.login.Org.Name == "":
		return &Failure{Code: NoSpace, Message: "No org and space are targeted.", Hint: "Target them with 'cf target -o ORG -s SPACE'."}
	case i.login.Space.Name == "":
		return &Failure{Code: NoSpace, Message: fmt.Sprintf("No space of org %s is targeted.", i.login.Org.Name), Hint: "Target it with 'cf target -s SPACE'."}
	default:
		return nil
	}
}

// savedTarget gives the target of the targeted space.
func (i *invocation) savedTarget() (Target, error) {
	target, found, err := i.Store.Target(i.login.API, i.login.Space.GUID)
	if err != nil {
		return Target{}, err
	}
	if !found {
		return Target{}, &Failure{
			Code:    NoTarget,
			Message: fmt.Sprintf("No target is saved for org %s / space %s of %s.", i.login.Org.Name, i.login.Space.Name, i.login.API),
			Hint:    fmt.Sprintf("Set it with '%s target SOURCE_INSTANCE SOURCE_KEY TARGET_INSTANCE TARGET_KEY'.", i.Program),
		}
	}
	return target, nil
}

// migration is the migration that the saved target means, and the way to it.
type migration struct {
	*client.Migrations
	names api.Instances
}

// source is the name of the source service instance.
func (m *migration) source() string { return m.names.SourceServiceInstanceName }

// target is the name of the target service instance.
func (m *migration) target() string { return m.names.TargetServiceInstanceName }

// migration finds out which migration a command is about, before anything is sent.
func (i *invocation) migration(ctx context.Context) (*migration, error) {
	tokens := askEarly(ctx, i.Session, i.Clock)
	m, err := i.findMigration(ctx, tokens)
	if err != nil {
		tokens.settle()
	}
	return m, err
}

func (i *invocation) findMigration(ctx context.Context, tokens client.TokenSource) (*migration, error) {
	if err := i.needSpace(ctx); err != nil {
		return nil, err
	}
	target, err := i.savedTarget()
	if err != nil {
		return nil, err
	}
	found, err := i.address()
	if err != nil {
		return nil, err
	}
	calls, err := i.migrations(found, tokens)
	if err != nil {
		return nil, err
	}
	m := &migration{calls, i.instances(target)}
	i.result.Target = &TargetDocument{API: found.url.String(), Instances: m.names}
	return m, nil
}

// instances are the six names of a migration in the targeted space.
func (i *invocation) instances(t Target) api.Instances {
	return api.Instances{
		Org:                       i.login.Org.Name,
		Space:                     i.login.Space.Name,
		SourceServiceInstanceName: t.SourceInstance,
		SourceServiceKeyName:      t.SourceKey,
		TargetServiceInstanceName: t.TargetInstance,
		TargetServiceKeyName:      t.TargetKey,
	}
}

// where names the targeted place in a sentence.
func (i *invocation) where() string {
	return fmt.Sprintf("org %s / space %s", i.login.Org.Name, i.login.Space.Name)
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9._/:@%+-]+$`)

// quote writes a name as it is typed in a shell.
func quote(name string) string {
	if plainWord.MatchString(name) && !strings.HasPrefix(name, "-") {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}
