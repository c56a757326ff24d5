package commands

import (
	"context"
	"fmt"
)

func versionCommand() Command {
	return Command{
		Name:     "version",
		Synopses: []string{""},
		Summary:  "Show the version of the plugin",
		make:     func() options { return &versionOptions{} },
	}
}

type versionOptions struct{}

func (o *versionOptions) flags() []Flag { return nil }

func (o *versionOptions) names(names []string) error { return noNames(names) }

func (o *versionOptions) run(_ context.Context, i *invocation) error {
	i.result.Version = i.Version
	fmt.Fprintln(i.Streams.Out, i.Version)
	return nil
}
