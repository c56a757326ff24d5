// Package plugin is cf's side of cf pg-migrate: what cf is told about the plugin, its session behind a narrow
// interface, what is saved in cf's home, and the one exit.
package plugin

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"code.cloudfoundry.org/cli/plugin"

	"github.com/cf-pg-migrate/cf-pg-migrate/commands"
	"github.com/cf-pg-migrate/cf-pg-migrate/ui"
)

const (
	// commandName is the one cf command that the plugin brings.
	commandName = "pg-migrate"

	// program is how the plugin is called in texts.
	program = "cf " + commandName

	// uninstallMessage is what cf passes instead of a command before it removes or replaces the plugin.
	uninstallMessage = "CLI-MESSAGE-UNINSTALL"

	// parentInterval is how often the plugin looks whether cf still lives.
	parentInterval = 500 * time.Millisecond
)

// Main runs the plugin as the arguments of the process say, and gives the exit status: for cf, which passes a port
// first, or for a person who started the file by hand.
func Main(args []string, version string) int {
	p := &PgMigrate{Version: strings.TrimPrefix(version, "v")}
	if len(args) < 2 || !isPort(args[1]) {
		return p.alone(args, ui.System(os.Getenv))
	}
	plugin.Start(p)
	return p.status
}

// isPort tells whether an argument is what cf passes first.
func isPort(arg string) bool {
	_, err := strconv.ParseUint(arg, 10, 16)
	return err == nil
}

// PgMigrate is the plugin as cf sees it.
type PgMigrate struct {
	// Version is semantic, without a leading v.
	Version string

	status int // of the command that Run ran
}

// Run runs the command that cf was given.
func (p *PgMigrate) Run(connection plugin.CliConnection, args []string) {
	if len(args) > 0 && args[0] == uninstallMessage {
		return // cf says this on every upgrade: what is saved stays
	}
	if len(args) > 0 {
		args = args[1:] // the name of the command
	}
	p.status = p.run(connection, args)
}

// run runs a command in the real world.
func (p *PgMigrate) run(connection connection, args []string) (status int) {
	streams := ui.System(os.Getenv)
	defer func() {
		if reason := recover(); reason != nil {
			status = p.crashed(streams, reason, os.Getenv)
		}
	}()
	trace, closeTrace, err := openTrace(os.Getenv("CF_TRACE"), streams.Err)
	if err != nil {
		streams.Note("CF_TRACE is ignored: %v", err)
	}
	defer closeTrace()

	ctx, cancel := untilSignal(context.Background())
	defer cancel()

	return commands.Execute(ctx, &commands.Environment{
		Program:   program,
		Version:   p.Version,
		UserAgent: p.userAgent(),
		Streams:   streams,
		Session:   newSession(connection),
		Store:     newStore(os.Getenv, runtime.GOOS),
		Clock:     commands.SystemClock{},
		Getenv:    os.Getenv,
		Trace:     trace,
	}, args)
}

// userAgent names the plugin to servers.
func (p *PgMigrate) userAgent() string {
	return fmt.Sprintf("cf-pg-migrate/%s (%s; %s)", p.Version, runtime.GOOS, runtime.GOARCH)
}

// crashed says in a line what cannot happen, and where to tell it. The stack is for CF_TRACE.
func (p *PgMigrate) crashed(streams *ui.Streams, reason any, getenv func(string) string) int {
	streams.Failed(fmt.Sprintf("pg-migrate %s has a fault: %v", p.Version, reason),
		"Please report it at https://github.com/cf-pg-migrate/cf-pg-migrate/issues with what CF_TRACE=true prints.")
	if getenv("CF_TRACE") != "" {
		fmt.Fprintf(streams.Err, "\n%s", debug.Stack())
	}
	return commands.Failed
}

// untilSignal gives a context that ends with [commands.ErrInterrupted] at the first signal that asks the process to
// end, and with [commands.ErrGone] when cf is gone. A second signal ends the process at once.
func untilSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go watch(ctx, cancel, signals, os.Getppid, parentInterval)
	return ctx, func() {
		signal.Stop(signals)
		cancel(context.Canceled)
	}
}

// watch ends the context at a signal or when the parent process changes.
func watch(ctx context.Context, cancel context.CancelCauseFunc, signals chan os.Signal, parent func() int, every time.Duration) {
	first := parent()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
			signal.Stop(signals)
			cancel(commands.ErrInterrupted)
			return
		case <-tick.C:
			if parent() != first {
				cancel(commands.ErrGone)
				return
			}
		}
	}
}

// openTrace opens what CF_TRACE names: true for stderr, else a file. The writer is nil without a trace.
func openTrace(value string, stderr io.Writer) (io.Writer, func(), error) {
	nothing := func() {}
	if value == "" {
		return nil, nothing, nil
	}
	if on, err := strconv.ParseBool(value); err == nil {
		if on {
			return stderr, nothing, nil
		}
		return nil, nothing, nil
	}
	file, err := os.OpenFile(value, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) //nolint:gosec // G703: the user names the file
	if err != nil {
		return nil, nothing, fmt.Errorf("opening the trace file: %w", err)
	}
	return file, func() { _ = file.Close() }, nil
}
