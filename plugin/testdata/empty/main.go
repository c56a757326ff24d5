// Command empty is a plugin that does nothing: what cf itself takes to run one.
package main

import "code.cloudfoundry.org/cli/plugin"

type empty struct{}

func (empty) Run(plugin.CliConnection, []string) {}

func (empty) GetMetadata() plugin.PluginMetadata {
	return plugin.PluginMetadata{Name: "empty", Commands: []plugin.Command{{Name: "empty", HelpText: "Do nothing"}}}
}

func main() { plugin.Start(empty{}) }
