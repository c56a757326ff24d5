package plugin

import (
	"fmt"
	"strconv"
	"strings"

	"code.cloudfoundry.org/cli/plugin"

	"github.com/cf-pg-migrate/cf-pg-migrate/commands"
)

// GetMetadata tells cf what the plugin is and what its help says, all from the table of commands. cf calls it when the
// plugin is installed, on any machine: it reads nothing.
func (p *PgMigrate) GetMetadata() plugin.PluginMetadata {
	return plugin.PluginMetadata{
		Name:    commandName,
		Version: versionType(p.Version),
		// cf exits with 0 where it is older than this, so it is as low as it can be.
		MinCliVersion: plugin.VersionType{Major: 7},
		Commands: []plugin.Command{{
			Name:     commandName,
			HelpText: "Move a PostgreSQL service instance to another one while its applications keep running",
			UsageDetails: plugin.Usage{
				Usage:   usage(),
				Options: flagTexts(),
			},
		}},
	}
}

// versionType takes the three numbers of a semantic version; cf has no room for more.
func versionType(version string) plugin.VersionType {
	var numbers [3]int
	version, _, _ = strings.Cut(version, "+")
	version, _, _ = strings.Cut(version, "-")
	for i, part := range strings.SplitN(version, ".", 3) {
		numbers[i], _ = strconv.Atoi(part)
	}
	return plugin.VersionType{Major: numbers[0], Minor: numbers[1], Build: numbers[2]}
}

// usage is the USAGE of cf help pg-migrate. cf indents the first line and puts its own name for CF_NAME.
func usage() string {
	var text strings.Builder
	fmt.Fprintf(&text, "CF_NAME %s SUBCOMMAND [ARGUMENTS] [--json]\n\nSUBCOMMANDS:\n", commandName)
	for _, line := range commands.Overview() {
		fmt.Fprintf(&text, "   %s\n", line)
	}
	text.WriteString("\nARGUMENTS:\n")
	for _, c := range commands.Table() {
		for _, line := range c.Usage("CF_NAME " + commandName) {
			fmt.Fprintf(&text, "   %s\n", line)
		}
	}
	fmt.Fprintf(&text, "\nMore about one: CF_NAME %s help SUBCOMMAND", commandName)
	return text.String()
}

// flagTexts are the OPTIONS of cf help pg-migrate. cf writes "-x" for a key of one letter, else "--key"; the key
// "force, -f" is shown as "--force, -f".
func flagTexts() map[string]string {
	type meaning struct {
		text string
		on   []string
	}
	meanings := map[string][]meaning{}
	table := commands.Table()
	for _, c := range table {
	flags:
		for _, f := range c.Flags() {
			key := strings.TrimPrefix(f.Names(), "--")
			for i := range meanings[key] {
				if m := &meanings[key][i]; m.text == f.Text {
					m.on = append(m.on, c.Name)
					continue flags
				}
			}
			meanings[key] = append(meanings[key], meaning{f.Text, []string{c.Name}})
		}
	}
	texts := map[string]string{}
	for key, list := range meanings {
		var parts []string
		for _, m := range list {
			if len(m.on) == len(table) {
				parts = append(parts, m.text)
				continue
			}
			parts = append(parts, fmt.Sprintf("%s (%s)", m.text, strings.Join(m.on, ", ")))
		}
		texts[key] = strings.Join(parts, "; ")
	}
	return texts
}
