package plugin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/cf-pg-migrate/cf-pg-migrate/commands"
	"github.com/cf-pg-migrate/cf-pg-migrate/ui"
)

// alone is what a person gets who starts the file by hand. Only what needs no cf works.
func (p *PgMigrate) alone(args []string, streams *ui.Streams) int {
	if len(args) < 2 {
		p.introduce(streams, args)
		return commands.Failed
	}
	switch args[1] {
	case "-h", "--help":
		args = []string{args[0], "help"}
	case "--version":
		args = []string{args[0], "version"}
	case "help", "version":
	default:
		p.introduce(streams, args)
		return commands.Failed
	}
	return commands.Execute(context.Background(), &commands.Environment{
		Program:   program,
		Version:   p.Version,
		UserAgent: p.userAgent(),
		Streams:   streams,
		Session:   noSession{},
		Store:     newStore(os.Getenv, runtime.GOOS),
		Clock:     commands.SystemClock{},
		Getenv:    os.Getenv,
	}, args[1:])
}

func (p *PgMigrate) introduce(streams *ui.Streams, args []string) {
	path := "PATH"
	if len(args) > 0 {
		path = args[0]
	}
	fmt.Fprintf(streams.Err, "This is the plugin %s %s of the cf CLI. It does not run on its own: install it with\n\n"+
		"   cf install-plugin %s\n\nand see '%s help'.\n", commandName, p.Version, path, program)
}

// noSession is the session of nobody.
type noSession struct{}

func (noSession) Login(context.Context) (commands.Login, error) { return commands.Login{}, nil }

func (noSession) AccessToken(context.Context) (string, error) {
	return "", &commands.TokenError{Err: errors.New("cf did not start this program")}
}
