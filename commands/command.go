package commands

import (
	"context"
	"fmt"
)

// Command is a subcommand as people see it.
type Command struct {
	Name string

	// Synopses are the ways to call it: what follows the name.
	Synopses []string

	// Summary is half a line, Details more lines for its own help; they may be empty.
	Summary string
	Details string

	// make gives options that nothing has been parsed into yet.
	make func() options
}

// options are the flags and names of one command: parsed first, then run.
type options interface {
	// flags binds the command's flags to its fields. --json is not among them: every command has it.
	flags() []Flag

	// names takes the positional arguments and checks all that was parsed.
	names(names []string) error

	// run does the work. Its errors become the exit status.
	run(ctx context.Context, i *invocation) error
}

// Flag is a flag of a command.
type Flag struct {
	// Name without dashes, and the one letter that means the same; the letter may be empty.
	Name, Short string

	// Value names what stands after it; empty for a switch.
	Value string

	// Text says what it does.
	Text string

	set func(value string) error
}

// Table lists all subcommands in the order in which people use them.
func Table() []Command {
	return []Command{
		targetCommand(),
		apiCommand(),
		preflightCheckCommand(),
		createReplicationCommand(),
		replicationCommand(),
		deleteReplicationCommand(),
		createFinalizationCommand(),
		finalizationCommand(),
		deleteFinalizationCommand(),
		tablesCommand(),
		helpCommand(),
		versionCommand(),
	}
}

// Flags lists the command's flags.
func (c *Command) Flags() []Flag {
	return append(c.make().flags(), jsonFlag(new(bool)))
}

// find gives the command of a name, or an error that names the nearest.
func find(name string) (*Command, error) {
	var known []string
	for _, c := range Table() {
		if c.Name == name {
			return &c, nil
		}
		known = append(known, c.Name)
	}
	return nil, usageError("%q is not a subcommand.%s", name, didYouMean(name, known))
}

// switchFlag is a flag without a value.
func switchFlag(name, short, text string, to *bool) Flag {
	return Flag{Name: name, Short: short, Text: text, set: func(string) error { *to = true; return nil }}
}

func jsonFlag(to *bool) Flag {
	return switchFlag("json", "", "Print exactly one JSON document, also on an error", to)
}

func forceFlag(to *bool) Flag {
	return switchFlag("force", "f", "Do not ask", to)
}

// noNames refuses every positional argument.
func noNames(names []string) error {
	if len(names) > 0 {
		return usageError("%q is one argument too many.", names[0])
	}
	return nil
}

// usageError is a call that makes no sense.
func usageError(format string, values ...any) *Failure {
	return &Failure{Code: Usage, Message: fmt.Sprintf(format, values...)}
}
