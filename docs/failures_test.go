package docs

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var failureCode = regexp.MustCompile(`Code(?: = |: )"(\w+)"`)

// Every code that a migration can fail with is in the table for users.
func TestEveryFailureIsExplained(t *testing.T) {
	var codes []string
	for _, name := range []string{"../service/engine/failure/failure.go", "../service/migration/worker.go"} {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		found := failureCode.FindAllStringSubmatch(string(source), -1)
		if len(found) == 0 {
			t.Errorf("no code was found in %s", name)
		}
		for _, match := range found {
			codes = append(codes, match[1])
		}
	}
	users, err := os.ReadFile("users.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows strings.Builder // their first columns
	for line := range strings.Lines(string(users)) {
		if first, _, found := strings.Cut(strings.TrimPrefix(line, "| `"), "` | "); found {
			rows.WriteString("`" + first + "`")
		}
	}
	for _, code := range codes {
		if !strings.Contains(rows.String(), "`"+code+"`") {
			t.Errorf("%s is not in users.md", code)
		}
	}
	if len(codes) < 19 {
		t.Errorf("only these codes were found: %v", codes)
	}
}
