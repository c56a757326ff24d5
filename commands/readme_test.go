package commands_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cf-pg-migrate/cf-pg-migrate/commands"
)

// TestReadme compares the reference in the README with the table of commands; -update writes it anew.
func TestReadme(t *testing.T) {
	const path, begin, end = "../README.md", "<!-- commands -->\n", "<!-- end of commands -->\n"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("%s has no place for the commands", path)
	}
	want := before + begin + reference() + end + after
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if string(text) != want {
		t.Errorf("the reference in %s is not the table of commands, see -update", path)
	}
}

// reference is the table of commands in markdown.
func reference() string {
	var table strings.Builder
	table.WriteString("| `cf pg-migrate` … | |\n|---|---|\n")
	for _, c := range commands.Table() {
		var calls []string
		for _, call := range c.Usage("") {
			calls = append(calls, "`"+strings.TrimSpace(call)+"`")
		}
		fmt.Fprintf(&table, "| %s | %s |\n", strings.ReplaceAll(strings.Join(calls, "<br>"), "|", "\\|"), c.Summary)
	}
	return table.String()
}
