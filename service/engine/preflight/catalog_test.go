package preflight

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const documentation = "../../../docs/preflight-checks.md"

func TestEveryCheckIsComplete(t *testing.T) {
	all, err := loadCatalog() // which wants every entry of the header, and every id once
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 80 {
		t.Errorf("there are only %d checks", len(all))
	}
	for id, c := range all {
		if !regexp.MustCompile(`^[ST]\d\d$`).MatchString(id) {
			t.Errorf("%s is no id", id)
		}
		if c.text == "" || c.hint == "" || c.since == 0 || c.side == "" || c.severity == "" {
			t.Errorf("%s is incomplete: %+v", id, c)
		}
		if strings.Contains(c.sql, "{{") {
			t.Errorf("%s has an unknown fragment", id)
		}
	}
}

func TestParseCheck(t *testing.T) {
	const whole = "-- id: S99\n-- side: source\n-- severity: warning\n-- since: 12\n-- text: Text: {count}\n-- hint: Do it.\nSELECT 0, '', NULL FROM {{user_tables}} t\n"
	c, err := parseCheck(whole)
	if err != nil {
		t.Fatal(err)
	}
	if c.id != "S99" || c.since != 12 || c.text != "Text: {count}" || !strings.Contains(c.sql, "FROM pg_class c") {
		t.Errorf("got %+v", c)
	}
	for _, line := range strings.SplitAfter(whole, "\n") {
		if line == "" {
			continue
		}
		if _, err := parseCheck(strings.Replace(whole, line, "", 1)); err == nil {
			t.Errorf("a check without %q is accepted", line)
		}
	}
	for _, right := range []string{"only: logical", "leaves: offline"} {
		if c, err = parseCheck("-- " + right + "\n" + whole); err != nil || c.onlyLogical == c.leavesOffline {
			t.Errorf("%q gives %+v, %v", right, c, err)
		}
		if _, err := parseCheck("-- " + right + "ly\n" + whole); err == nil {
			t.Errorf("%q is accepted", right+"ly")
		}
	}
	for _, wrong := range []string{"side: middle", "severity: fatal", "since: ten"} {
		key, _, _ := strings.Cut(wrong, ":")
		if _, err := parseCheck(regexp.MustCompile(key+": .*").ReplaceAllString(whole, wrong)); err == nil {
			t.Errorf("%q is accepted", wrong)
		}
	}
}

func TestFill(t *testing.T) {
	for _, test := range []struct {
		text  string
		count int64
		want  string
	}{
		{"{count}", 7, "7"},
		{"{count:table}", 1, "1 table"},
		{"{count:foreign table} found", 4, "4 foreign tables found"},
		{"({count:index|indexes})", 2, "(2 indexes)"},
		{"{count:policy|policies}", 1, "1 policy"},
		{"'{detail}' {count}", 0, "'x {count}' 0"},
	} {
		if got := fill(test.text, result{count: test.count, values: map[string]string{"detail": "x {count}"}}); got != test.want {
			t.Errorf("%q becomes %q", test.text, got)
		}
	}
}

func TestFindingShowsTenNames(t *testing.T) {
	names := strings.Split(strings.Repeat("x", 12), "")
	f := check{text: "{count}"}.finding(result{count: 12, names: names})
	if len(f.Names) != 10 || f.Text != "12" || f.Count != 12 {
		t.Errorf("got %+v", f)
	}
}

func TestIsNewer(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"1.8", "1.8", false},
		{"1.10", "1.9", true},
		{"1.9", "1.10", false},
		{"0.8.0", "0.5.1", true},
		{"3", "3.0", false},
		{"3.4.0dev", "3.3.0", true},
		{"3.4.0dev", "3.4.0", false},
		{"", "1.0", false},
	} {
		if got := isNewer(test.a, test.b); got != test.want {
			t.Errorf("isNewer(%q, %q) is %v", test.a, test.b, got)
		}
	}
}

func TestCompare(t *testing.T) {
	all, err := loadCatalog()
	if err != nil {
		t.Fatal(err)
	}
	source := facts{
		major: 16, system: "1 a", encoding: "UTF8", collation: "de_DE.UTF-8",
		languages: []string{"plperl", "plpython3u", "sql"}, extensions: map[string]string{"plpgsql": "1.0", "plperl": "1.0", "vector": "0.8.0", "hstore": "1.8"},
		names: []string{"relation public.a", "relation public.b", "type public.a"}, policyRoles: []string{"y", "x", "x"}, mappingRoles: []string{"z", "x"},
		lz4Columns: 1, foreignKeyBytes: 20 << 30, openingLocks: 3000, schemas: []string{"public", "s", "u"}, wrappers: []string{"w", "v", "w"}, special: []string{"cast a AS b"},
		removed: []string{"column a", "operator b"}, removedIn: []int32{15, 16},
	}
	target := facts{
		major: 15, system: "2 a", encoding: "UTF8", collation: "de_DE.utf8", roles: []string{"z"},
		languages: []string{"sql"}, available: map[string]string{"vector": "0.9.0"}, extensions: map[string]string{"vector": "0.5.1"},
		names: []string{"relation public.a", "type public.a", "type public.b"}, withoutLZ4: true, locksPerSlot: 10, lockSlots: 50,
		schemas: []string{"s", "t", "u"}, creatable: []string{"t", "u"}, usable: []string{"v"},
	}
	var texts []string
	for _, f := range compare(all, source, target) {
		texts = append(texts, f.ID+" "+f.Text)
	}
	want := []string{
		"S03 Target version 15 is older than source version 16",
		"S86 Version 15 of the target does not know what version 16 knew (1 object found)",
		"S39 Languages 'plperl', 'plpython3u' are not available on the target",
		"S40 Extension 'hstore' is not available on the target",
		"S41 Extension 'vector' version 0.8.0 is newer than the target's (0.5.1)",
		"T08 Login cannot disable triggers (foreign keys of 20 GB of tables are checked during the finalization)",
		"T15 Target has no lz4 compression (1 column found)",
		"T24 Lock table of the target is too small for the finalization, which locks 3000 relations at once (max_locks_per_transaction is 10, 86 needed)",
		"T13 Roles 'x', 'y' do not exist on the target (used by 3 policies)",
		"T22 Role 'x' does not exist on the target (used by 1 user mapping)",
		"T18 Target already holds objects of the same name (1 found): public.a",
		"T06 Login has no CREATE privilege on schema 's'",
		"T20 Schema public does not exist on the target",
		"S81 Objects need a superuser on the target (1 object found)",
		"T21 Login cannot use foreign data wrapper 'w' on the target (2 foreign servers found)",
	}
	if !slices.Equal(texts, want) {
		t.Errorf("got\n%s", strings.Join(texts, "\n"))
	}

	// A superuser may do everything.
	target.superuser = true
	for _, f := range compare(all, source, target) {
		if f.ID == "S81" || f.ID == "T21" {
			t.Errorf("got %+v", f)
		}
	}

	// Of a target of which nothing could be found out, nothing is said.
	source.foreignKeyBytes, source.lz4Columns, source.removed = 0, 0, nil
	if findings := compare(all, source, facts{major: 16}); len(findings) > 0 {
		t.Errorf("got %+v", findings)
	}
}

func TestOfflineText(t *testing.T) {
	for bytes, want := range map[int64]string{
		0:        "everything is copied during the finalization",
		1:        "everything is copied during the finalization, about 1 minute without writes (0 MB at 20 MB/s)",
		4 << 30:  "everything is copied during the finalization, about 4 minutes without writes (4096 MB at 20 MB/s)",
		70 << 30: "everything is copied during the finalization, about 60 minutes without writes (70 GB at 20 MB/s)",
	} {
		if got := OfflineText(bytes); got != want {
			t.Errorf("%d bytes: %q", bytes, got)
		}
	}
}

var update = flag.Bool("update", false, "write the documentation of the checks")

func TestDocumentation(t *testing.T) {
	all, err := loadCatalog()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	text.WriteString(`# Preflight checks

<!-- Made from service/engine/preflight by "go test ./service/engine/preflight -run TestDocumentation -update". -->

Before a replication starts, the service checks both databases. A critical finding keeps the
replication from starting; a warning does not.

Where the severity is "offline", the source cannot replicate. The finding is a warning then, and says how long the
finalization will be, in which everything is copied; checks that matter to logical decoding alone are left out. An operator
who refuses the offline method makes it a critical finding.

| Check | Side | Severity | PostgreSQL | Finding | What to do |
|---|---|---|---|---|---|
`)
	for _, id := range slices.Sorted(maps.Keys(all)) {
		c := all[id]
		severity := string(c.severity)
		if c.leavesOffline {
			severity = "offline"
		}
		fmt.Fprintf(&text, "| %s | %s | %s | %d+ | %s | %s |\n", c.id, c.side, severity, max(c.since, oldestMajor), readable(c.text), strings.ReplaceAll(c.hint, "|", `\|`))
	}
	if *update {
		if err := os.WriteFile(documentation, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	current, err := os.ReadFile(documentation)
	if err != nil {
		t.Fatal(err)
	}
	if string(current) != text.String() {
		t.Error("docs/preflight-checks.md is not current: go test ./service/engine/preflight -run TestDocumentation -update")
	}
}

// readable shows the placeholders of a text as words.
func readable(text string) string {
	text = regexp.MustCompile(`\{count:[a-z ]+\|([a-z ]+)\}`).ReplaceAllString(text, "N $1")
	text = regexp.MustCompile(`\{count:([a-z ]+)\}`).ReplaceAllString(text, "N ${1}s")
	text = strings.NewReplacer("{count}", "N", "{detail}", "…", "{subject} not available", "… is not available", "{subject} not exist", "Role … does not exist",
		"source {source}", "source …", "target {target}", "target …", "({version})", "(…)").Replace(text)
	return regexp.MustCompile(`\{[a-z]+\}`).ReplaceAllString(text, "…")
}
