package commands

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/cf-pg-migrate/cf-pg-migrate/ui"
)

func helpCommand() Command {
	return Command{
		Name:     "help",
		Synopses: []string{"[SUBCOMMAND]"},
		Summary:  "Show all subcommands, or how to use one",
		make:     func() options { return &helpOptions{} },
	}
}

type helpOptions struct{ command *Command }

func (o *helpOptions) flags() []Flag { return nil }

func (o *helpOptions) names(names []string) error {
	if len(names) == 0 {
		return nil
	}
	var err error
	if o.command, err = find(names[0]); err != nil {
		return err
	}
	return noNames(names[1:])
}

func (o *helpOptions) run(_ context.Context, i *invocation) error {
	shown := Table()
	if o.command == nil {
		printOverview(i.Streams.Out, i.Program, i.Streams.OutStyle())
	} else {
		shown = []Command{*o.command}
		printHelp(i.Streams.Out, i.Program, o.command, i.Streams.OutStyle())
	}
	for _, c := range shown {
		i.result.Commands = append(i.result.Commands, c.document(i.Program))
	}
	return nil
}

// document is the help of a command for --json.
func (c *Command) document(program string) CommandDocument {
	d := CommandDocument{Name: c.Name, Usage: c.Usage(program), Summary: c.Summary, Flags: []FlagDocument{}}
	for _, f := range c.Flags() {
		d.Flags = append(d.Flags, FlagDocument{Name: f.Name, Short: f.Short, Value: f.Value, Text: f.Text})
	}
	return d
}

// Usage lists the ways to call the command.
func (c *Command) Usage(program string) []string {
	var lines []string
	for _, synopsis := range c.Synopses {
		lines = append(lines, strings.TrimSpace(program+" "+c.Name+" "+synopsis))
	}
	return lines
}

// Names writes a flag as people do: "--force, -f" or "--timeout DURATION".
func (f *Flag) Names() string {
	text := "--" + f.Name
	if f.Short != "" {
		text += ", -" + f.Short
	}
	if f.Value != "" {
		text += " " + f.Value
	}
	return text
}

// printOverview writes a line for each command.
func printOverview(w io.Writer, program string, style ui.Style) {
	fmt.Fprintf(w, "%s\n   pg-migrate - Move a PostgreSQL service instance to another one while its applications keep running\n\n", style.Heading("NAME:"))
	fmt.Fprintf(w, "%s\n   %s SUBCOMMAND [ARGUMENTS] [--json]\n\n", style.Heading("USAGE:"), program)
	fmt.Fprintln(w, style.Heading("SUBCOMMANDS:"))
	for _, line := range Overview() {
		fmt.Fprintln(w, "   "+line)
	}
	fmt.Fprintf(w, "\nHow to use one: %s help SUBCOMMAND\n", program)
}

// Overview is a line for each command: its name and what it does.
func Overview() []string {
	var lines []string
	widest := 0
	for _, c := range Table() {
		widest = max(widest, len(c.Name))
	}
	for _, c := range Table() {
		lines = append(lines, fmt.Sprintf("%-*s   %s", widest, c.Name, c.Summary))
	}
	return lines
}

// printHelp writes how to use a command.
func printHelp(w io.Writer, program string, c *Command, style ui.Style) {
	fmt.Fprintf(w, "%s\n   %s - %s\n\n%s\n", style.Heading("NAME:"), c.Name, c.Summary, style.Heading("USAGE:"))
	for _, line := range c.Usage(program) {
		fmt.Fprintln(w, "   "+line)
	}
	if c.Details != "" {
		fmt.Fprintln(w)
		for line := range strings.Lines(c.Details) {
			fmt.Fprintln(w, strings.TrimRight("   "+line, " \n"))
		}
	}
	fmt.Fprintf(w, "\n%s\n", style.Heading("OPTIONS:"))
	widest := 0
	for _, f := range c.Flags() {
		widest = max(widest, len(f.Names()))
	}
	for _, f := range c.Flags() {
		fmt.Fprintf(w, "   %-*s   %s\n", widest, f.Names(), f.Text)
	}
}
