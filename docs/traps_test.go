// Package docs holds what is said to people, and tests that keep it true.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const lastTrap = 64

var (
	trapRow  = regexp.MustCompile(`(?m)^\| (\d+) \| [^|]+ \| ([^|]+) \| ([^|]+) \|$`)
	quoted   = regexp.MustCompile("`([^`]+)`")
	testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	zooKind  = regexp.MustCompile(`(?m)^-- kind: (.+)$`)
	// "Trap 16:", "Traps 17 and 18:", "Traps 2, 7, 24:", "Traps 16 to 18:"
	trapName = regexp.MustCompile(`Traps? (\d+(?:(?:, | and | to )\d+)*):`)
)

// TestTraps makes sure that each trap has a guard that exists and tests that exist and name it.
func TestTraps(t *testing.T) {
	text, err := os.ReadFile("traps.md")
	if err != nil {
		t.Fatal(err)
	}
	named := tests(t)
	rows := trapRow.FindAllStringSubmatch(string(text), -1)
	if len(rows) != lastTrap {
		t.Fatalf("the tables have %d traps of %d", len(rows), lastTrap)
	}
	for i, row := range rows {
		number := i + 1
		if row[1] != strconv.Itoa(number) {
			t.Errorf("trap %s stands where %d belongs", row[1], number)
		}
		for _, guard := range quoted.FindAllStringSubmatch(row[2], -1) {
			if _, err := os.Stat(filepath.Join("../service/engine", guard[1])); err != nil {
				t.Errorf("trap %d: %v", number, err)
			}
		}
		for _, test := range quoted.FindAllStringSubmatch(row[3], -1) {
			if traps, exists := named[test[1]]; !exists {
				t.Errorf("trap %d: there is no %s", number, test[1])
			} else if !traps[number] {
				t.Errorf("trap %d: %s does not name it", number, test[1])
			}
		}
		if !strings.Contains(row[3], "`") {
			t.Errorf("trap %d has no test", number)
		}
	}
}

// tests gives the traps that each test and each section of the zoo names.
func tests(t *testing.T) map[string]map[int]bool {
	t.Helper()
	found := map[string]map[int]bool{}
	for _, root := range []string{"../service", "../fixtures"} {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			begin, name := testFunc, ""
			switch {
			case strings.HasSuffix(path, "_test.go"):
			case strings.Contains(path, "/zoo/") && strings.HasSuffix(path, ".sql"):
				begin, name = zooKind, "zoo: "
			default:
				return nil
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range begin.FindAllStringSubmatchIndex(string(text), -1) {
				found[name+string(text[m[2]:m[3]])] = traps(around(string(text), m[0]))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// around gives the comment before a position and what stands after it, up to the next blank line at the margin.
func around(text string, at int) string {
	before := text[:at]
	if i := strings.LastIndex(before, "\n\n"); i >= 0 {
		before = before[i:]
	}
	after := text[at:]
	for _, end := range []string{"\n}\n", "\n\n-- kind: "} {
		if i := strings.Index(after, end); i >= 0 {
			after = after[:i]
		}
	}
	return before + after
}

// traps gives the numbers that a text names.
func traps(text string) map[int]bool {
	numbers := map[int]bool{}
	unbroken := strings.NewReplacer("\n// ", " ", "\n", " ").Replace(text)
	for _, m := range trapName.FindAllStringSubmatch(unbroken, -1) {
		last, span := 0, false
		for _, word := range strings.FieldsFunc(m[1], func(r rune) bool { return r == ' ' || r == ',' }) {
			n, err := strconv.Atoi(word)
			if err != nil {
				span = word == "to"
				continue
			}
			for k := last + 1; span && k < n; k++ {
				numbers[k] = true
			}
			numbers[n], last, span = true, n, false
		}
	}
	return numbers
}
