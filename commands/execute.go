package commands

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
)

// Exit statuses. cf makes 1 of all others, so there are no more.
const (
	Success = 0
	Failed  = 1
)

// invocation is one run of a command.
type invocation struct {
	*Environment
	result Document
	asJSON bool

	// login is known once a command has asked for it.
	login Login

	// goesOn says what a person has to know if the command ends early: what goes on without it, and how to look again.
	// It begins with a space.
	goesOn string
}

// Execute runs the command that the arguments name, prints its result and gives the exit status. A context that ends
// with [ErrInterrupted] or [ErrGone] as its cause stops it at once.
func Execute(ctx context.Context, environment *Environment, args []string) int {
	i := &invocation{Environment: environment}
	streams := environment.Streams
	command, parsed, asJSON, err := i.parse(args)
	i.asJSON = asJSON
	if asJSON {
		silenced := *streams
		silenced.Out = io.Discard
		own := *environment
		own.Streams = &silenced
		i.Environment = &own
	}
	if err == nil {
		err = parsed.run(ctx, i)
	}
	if ctx.Err() != nil && err != nil {
		err = context.Cause(ctx) // whatever it looks like, this is why
	}
	if errors.Is(err, ErrGone) {
		return Failed // nobody is there to read
	}
	if err != nil {
		i.result.Error = i.describe(err)
		if i.result.Error.Code == Cancelled { // as the user wanted it
			i.Streams.Note("%s", i.result.Error.Message)
		} else {
			i.Streams.Failed(i.result.Error.Message, i.result.Error.Hint)
		}
		if i.result.Error.Code == Usage {
			i.printUsage(command)
		}
	}
	if asJSON {
		if writeErr := i.result.write(streams.Out); writeErr != nil {
			i.Streams.Failed(sentence(writeErr), "")
			return Failed
		}
	}
	if err != nil {
		return Failed
	}
	return Success
}

// parse finds the command and parses its arguments. The command is nil if there is none of that name.
func (i *invocation) parse(args []string) (*Command, options, bool, error) {
	asJSON := wantsJSON(args)
	if len(args) > 0 && args[0] == "--json" { // flags may stand before everything
		args = append(append([]string{}, args[1:]...), "--json")
		if args[0] == "--json" {
			args = nil
		}
	}
	if len(args) == 0 {
		return nil, nil, asJSON, usageError("A subcommand is missing.")
	}
	i.result.Command = args[0]
	command, err := find(args[0])
	if err != nil {
		return nil, nil, asJSON, err
	}
	parsed, asJSON, err := parse(command, args[1:])
	if err != nil {
		return command, nil, wantsJSON(args), err
	}
	return command, parsed, asJSON, nil
}

// printUsage shows on Err how to call a command, or which commands there are.
func (i *invocation) printUsage(command *Command) {
	fmt.Fprintln(i.Streams.Err)
	if command == nil {
		printOverview(i.Streams.Err, i.Program, i.Streams.ErrStyle())
		return
	}
	printHelp(i.Streams.Err, i.Program, command, i.Streams.ErrStyle())
}

// banner says what is about to be done to which migration.
func (i *invocation) banner(doing string, names api.Instances) {
	i.Streams.Banner(doing, names, i.login.User)
}
