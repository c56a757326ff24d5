package docs

import (
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

var (
	codeBlock = regexp.MustCompile("(?ms)^[ \t]*```.*?^[ \t]*```[ \t]*$")
	codeSpan  = regexp.MustCompile("`[^`\n]*`")
	link      = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading   = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *#*$`)
	linkText  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	decision  = regexp.MustCompile(`^docs/decisions/(\d{3})-[a-z0-9-]+\.md$`)
)

// TestLinksLeadSomewhere follows each link of each page that stays within the repository, to its file and its heading.
func TestLinksLeadSomewhere(t *testing.T) {
	texts := repository(t)
	followed := 0
	for page, text := range texts {
		if path.Ext(page) != ".md" {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(prose(text), -1) {
			u, err := url.Parse(m[1])
			if err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			if u.Scheme != "" {
				continue
			}
			followed++
			to := page
			if u.Path != "" {
				to = path.Join(path.Dir(page), u.Path)
			}
			if _, err := os.Stat(filepath.Join("..", to)); err != nil || strings.HasPrefix(u.Path, "/") || strings.HasPrefix(to, "..") {
				t.Errorf("%s: %s leads nowhere", page, m[1])
			} else if u.Fragment != "" && !anchors(texts[to])[u.Fragment] {
				t.Errorf("%s: %s has no heading for %s", page, to, m[1])
			}
		}
	}
	if followed < 20 {
		t.Errorf("only %d links were found", followed)
	}
}

// TestDecisionsAreListed makes sure that architecture.md leads to every decision by its title, and that each says what has to
// be known to decide otherwise.
func TestDecisionsAreListed(t *testing.T) {
	texts := repository(t)
	decisions := 0
	for page, text := range texts {
		if path.Dir(page) != "docs/decisions" {
			continue
		}
		decisions++
		m := decision.FindStringSubmatch(page)
		if m == nil {
			t.Errorf("%s is not named NNN-title.md", page)
			continue
		}
		title, rest, _ := strings.Cut(strings.TrimPrefix(text, "# "), "\n")
		if want := m[1] + "-" + slug(title) + ".md"; path.Base(page) != want {
			t.Errorf("%s has the title %q, which wants the name %s", page, title, want)
		}
		if !strings.Contains(texts["docs/architecture.md"], "\n* ["+title+"](decisions/"+path.Base(page)+")\n") {
			t.Errorf("%s is not in the list of architecture.md", page)
		}
		for _, part := range []string{"\n## Why\n", "\n## What it costs, and when to look again\n"} {
			if before, after, found := strings.Cut(rest, part); !found || strings.TrimSpace(before) == "" || strings.TrimSpace(after) == "" {
				t.Errorf("%s says nothing below%s", page, strings.TrimRight(part, "\n"))
			}
		}
	}
	for n := 1; n <= decisions; n++ {
		if files, _ := filepath.Glob("decisions/" + strconv.Itoa(1000 + n)[1:] + "-*.md"); len(files) != 1 {
			t.Errorf("number %d belongs to %d decisions", n, len(files))
		}
	}
	if decisions == 0 {
		t.Error("no decision was found")
	}
}

// TestAcceptanceScriptsAreListed makes sure that the page of the acceptance scripts knows all of them.
func TestAcceptanceScriptsAreListed(t *testing.T) {
	texts := repository(t)
	for file := range texts {
		if name, found := strings.CutPrefix(file, "acceptance/testdata/"); found && !strings.Contains(texts["acceptance/README.md"], "](testdata/"+name+")") {
			t.Errorf("%s is not in acceptance/README.md", file)
		}
	}
}

// prose is a page without its code.
func prose(text string) string {
	return codeSpan.ReplaceAllString(codeBlock.ReplaceAllString(text, ""), "")
}

// anchors gives the names that GitHub gives to the headings of a page.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
		name := slug(linkText.ReplaceAllString(m[1], "$1"))
		for n, first := 1, name; found[name]; n++ {
			name = first + "-" + strconv.Itoa(n)
		}
		found[name] = true
	}
	return found
}

// slug is a heading in small letters and hyphens.
func slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		case r == ' ':
			return '-'
		default:
			return -1
		}
	}, heading)
}

func TestSlug(t *testing.T) {
	for text, want := range map[string]string{"Offline": "offline", "What's `new`, and why?": "whats-new-and-why", "A_b – c": "a_b--c"} {
		if got := slug(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}
