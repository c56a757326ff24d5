// Package docs holds what is said to people, and tests that keep it true.
package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// page is a list of traps.
type page struct {
	file   string
	prefix string // of the numbers
	guards string // the folder that guards are named from
}

var pages = []page{
	{"traps.md", "", "../service/engine"},
	{"plugin-traps.md", "P", ".."},
}

var (
	trapLine = regexp.MustCompile(`(?m)^\| P?\d.*$`)
	trapRow  = regexp.MustCompile(`^\| (P?\d+) \| [^|]+ \| ([^|]+) \| ([^|]+) \|$`)
	quoted   = regexp.MustCompile("`([^`]+)`")
	testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	zooKind  = regexp.MustCompile(`(?m)^-- kind: (.+)$`)
	// "Trap 16:", "Traps 17 and 18:", "Traps 2, 7, 24:", "(traps P16 to P18)", "(trap P1, trap P30)"
	citation = regexp.MustCompile(`\b[Tt]raps? P?\d+(?:(?:, | and | to )P?\d+)*\b`)
	oneTrap  = regexp.MustCompile(`(to )?(P?)(\d+)`)
)

// rows gives the traps of a page, each as number, guards and tests.
func (p page) rows(t *testing.T) [][]string {
	t.Helper()
	text, err := os.ReadFile(p.file)
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for i, line := range trapLine.FindAllString(string(text), -1) {
		row := trapRow.FindStringSubmatch(line)
		if row == nil {
			t.Fatalf("%s: not number, what happens, guard and test: %s", p.file, line)
		}
		if want := p.prefix + strconv.Itoa(i+1); row[1] != want {
			t.Errorf("%s: trap %s stands where %s belongs", p.file, row[1], want)
		}
		rows = append(rows, row[1:])
	}
	if len(rows) == 0 {
		t.Fatalf("%s has no traps", p.file)
	}
	return rows
}

// TestTraps makes sure that each trap has a guard that exists and tests that exist and name it.
func TestTraps(t *testing.T) {
	named := tests(t)
	for _, p := range pages {
		for _, row := range p.rows(t) {
			number := row[0]
			guards, tests := quoted.FindAllStringSubmatch(row[1], -1), quoted.FindAllStringSubmatch(row[2], -1)
			for _, guard := range guards {
				if info, err := os.Stat(filepath.Join(p.guards, guard[1])); err != nil {
					t.Errorf("trap %s: %v", number, err)
				} else if info.IsDir() {
					t.Errorf("trap %s: %s is no file", number, guard[1])
				}
			}
			for _, test := range tests {
				if traps, exists := named[test[1]]; !exists {
					t.Errorf("trap %s: there is no %s", number, test[1])
				} else if !slices.Contains(traps, number) {
					t.Errorf("trap %s: %s does not name it", number, test[1])
				}
			}
			if len(guards) == 0 || len(tests) == 0 {
				t.Errorf("trap %s has no guard or no test", number)
			}
		}
	}
}

// TestCitedTrapsExist makes sure that each place of the repository that names a trap names one of the lists.
func TestCitedTrapsExist(t *testing.T) {
	known := knownTraps(t)
	cited := map[bool]bool{} // of the engine, and of the plugin
	for path, text := range repository(t) {
		for _, number := range traps(text) {
			cited[strings.HasPrefix(number, "P")] = true
			if !known[number] {
				t.Errorf("%s names trap %s, which is in no list", path, number)
			}
		}
	}
	if len(cited) < 2 {
		t.Errorf("citations of one kind only were found: %v", cited)
	}
}

// What must be found, and what must not be known. Broken up, so that this file cites nothing that is not there.
func TestCitations(t *testing.T) {
	known := knownTraps(t)
	for text, want := range map[string]string{
		"// Trap %16: of equal rows":                        "16",
		"(trap %P1, trap %P30)":                             "P1 P30",
		"Traps %2, 7, 24, 33, 45 and 48: all":               "2 7 24 33 45 48",
		"-- Traps %3 to 5: x. Trap %8: y":                   "3 4 5 8",
		"(traps %P15 to P18)":                               "P15 P16 P17 P18",
		"// a comment that breaks, trap\n// %17, in a line": "17",
		"# a comment that breaks (trap\n# %P4)":             "P4",
		"trap 'rm -rf x' EXIT; 5 traps; untrap %5":          "",
		"Trap %999: never":                                  "999!",
		"(trap %P999)":                                      "P999!",
		"(trap %P0)":                                        "P0!",
	} {
		var got []string
		for _, number := range traps(strings.ReplaceAll(text, "%", "")) {
			if !known[number] {
				number += "!"
			}
			got = append(got, number)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// knownTraps gives the numbers of all pages.
func knownTraps(t *testing.T) map[string]bool {
	t.Helper()
	known := map[string]bool{}
	for _, p := range pages {
		for _, row := range p.rows(t) {
			known[row[0]] = true
		}
	}
	return known
}

// tests gives the traps that each Go test, each section of the zoo and each script names.
func tests(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for path, text := range repository(t) {
		begin, name := testFunc, ""
		switch {
		case strings.HasSuffix(path, "_test.go"):
		case strings.Contains(path, "/zoo/") && strings.HasSuffix(path, ".sql"):
			begin, name = zooKind, "zoo: "
		case strings.HasSuffix(path, ".txtar"):
			found[filepath.Base(path)] = append(found[filepath.Base(path)], traps(text)...)
			continue
		default:
			continue
		}
		for _, m := range begin.FindAllStringSubmatchIndex(text, -1) {
			test := name + text[m[2]:m[3]]
			found[test] = append(found[test], traps(around(text, m[0]))...)
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

var brokenLine = regexp.MustCompile(`\n[ \t]*(?://|--|#)?[ \t]*`)

// traps gives the numbers that a text names.
func traps(text string) []string {
	var numbers []string
	for _, words := range citation.FindAllString(brokenLine.ReplaceAllString(text, " "), -1) {
		last := 0
		for _, m := range oneTrap.FindAllStringSubmatch(words, -1) {
			n, err := strconv.Atoi(m[3])
			if err != nil {
				continue
			}
			for k := last + 1; m[1] != "" && k < n; k++ {
				numbers = append(numbers, m[2]+strconv.Itoa(k))
			}
			numbers, last = append(numbers, m[2]+m[3]), n
		}
	}
	return numbers
}
