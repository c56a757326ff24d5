package ui

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

var migration = api.Instances{Org: "o", Space: "s", SourceServiceInstanceName: "a", TargetServiceInstanceName: "b"}

func buffers() (*Streams, *bytes.Buffer, *bytes.Buffer) {
	out, err := &bytes.Buffer{}, &bytes.Buffer{}
	return &Streams{In: strings.NewReader(""), Out: out, Err: err, Width: func() int { return 60 }}, out, err
}

// TestClean: texts of a server cannot take over the terminal (trap P13).
func TestClean(t *testing.T) {
	for text, want := range map[string]string{
		"plain":                                "plain",
		"two\r\nlines\tand  more ":             "two lines and more",
		"\x1b[31mred\x1b[0m":                   "red",
		"\x1b]0;title\x07text":                 "text",
		"\x1b]8;;http://x\x1b\\link":           "link",
		"a\x08b\x7fc\u009bd":                   "abcd",
		"left\u202eright":                      "leftright",
		"ümlaut 日本":                            "ümlaut 日本",
		"bad \xff utf8":                        "bad utf8",
		"clear\x1b[2J\x1b[1;1Hscreen \x1bcnow": "clearscreen cnow",
	} {
		if got := Clean(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
	if got := cleanName("a  b\n\x1b[1m"); got != "a  b??[1m" {
		t.Errorf("%q", got)
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_949: "999.9 kB", 999_999: "1.0 MB", 85_000_000: "85.0 MB", 1 << 62: "4.6 EB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -12345: "-12,345"} {
		if got := Count(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
	for d, want := range map[time.Duration]string{
		-time.Second: "0.0s", 310 * time.Millisecond: "0.3s", 59600 * time.Millisecond: "1m0s", 17 * time.Second: "17s",
		90 * time.Minute: "1h30m", 100 * time.Hour: "100h0m",
	} {
		if got := Duration(d); got != want {
			t.Errorf("%s: %s", d, got)
		}
	}
	for _, test := range []struct {
		done, total int64
		want        int
	}{{0, 0, 0}, {5, 0, 0}, {1, 3, 33}, {999, 1000, 99}, {1000, 1000, 100}, {1001, 1000, 100}} {
		if got := share(test.done, test.total); got != test.want {
			t.Errorf("%v: %d", test, got)
		}
	}
	if got := bar(1, 2, 10); got != "[####....]" {
		t.Error(got)
	}
	if Plural(1, "row") != "1 row" || Plural(int64(2000), "row") != "2,000 rows" {
		t.Error("plural")
	}
}

func TestWrapAndCut(t *testing.T) {
	if got := strings.Join(wrap("one two three fourteen-letters x", 8), "|"); got != "one two|three|fourteen-letters|x" {
		t.Error(got)
	}
	if got := wrap("as  it is", 0); len(got) != 1 || got[0] != "as  it is" {
		t.Error(got)
	}
	for _, test := range []struct {
		text  string
		width int
		want  string
	}{{"short", 5, "short"}, {"longer", 5, "lon.."}, {"日本語", 5, "日.."}} {
		if got := cut(test.text, test.width); got != test.want {
			t.Errorf("%v: %q", test, got)
		}
	}
	for _, test := range []struct {
		line  string
		width int
		want  string
	}{{"short", 5, "short"}, {"longer", 5, "lon.."}, {"üüüü", 5, "ü.."}, {"abc", 1, ".."}} {
		if got := fitBytes(test.line, test.width); got != test.want {
			t.Errorf("%v: %q", test, got)
		}
	}
}

// TestColor: who gets colours (trap P14).
func TestColor(t *testing.T) {
	for name, test := range map[string]struct {
		env    map[string]string
		system string
		want   bool
	}{
		"usual":        {nil, "linux", true},
		"NO_COLOR":     {map[string]string{"NO_COLOR": "1"}, "linux", false},
		"CF_COLOR":     {map[string]string{"CF_COLOR": "false"}, "linux", false},
		"CF_COLOR on":  {map[string]string{"CF_COLOR": "true"}, "linux", true},
		"dumb":         {map[string]string{"TERM": "dumb"}, "linux", false},
		"old console":  {nil, "windows", false},
		"new terminal": {map[string]string{"WT_SESSION": "x"}, "windows", true},
	} {
		if got := allowsColor(func(name string) string { return test.env[name] }, test.system); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	on := Style{true}
	if on.Status("FAILED") != "\x1b[1;31mFAILED\x1b[0m" || on.Status("IN-SYNC") != on.Good("IN-SYNC") || on.Status("X") != on.Heading("X") {
		t.Error("colours")
	}
	if (Style{}).Bad("x") != "x" || on.Name("") != "" || on.Attention("x") == "x" {
		t.Error("colours")
	}
	s, out, err := buffers()
	s.Color = true
	s.Status("FAILED")
	s.Banner("Looking", migration, "u")
	if strings.Contains(out.String()+err.String(), "\x1b") {
		t.Error("colours off a terminal")
	}
	s.OutTerminal, s.ErrTerminal = true, true
	s.Banner("Looking", migration, "")
	if !strings.Contains(err.String(), "Looking from \x1b[1;36ma\x1b[0m to \x1b[1;36mb\x1b[0m in org \x1b[1;36mo\x1b[0m / space \x1b[1;36ms\x1b[0m...") {
		t.Errorf("%q", err.String())
	}
}

func TestSystem(t *testing.T) {
	s := System(func(string) string { return "" })
	if s.In != os.Stdin || s.Out != os.Stdout || s.Err != os.Stderr || s.Width() <= 0 || !s.Animated {
		t.Errorf("%+v", s)
	}
	if s, _, _ := buffers(); s.Interactive() || s.OutWidth() != 0 || s.ErrWidth() != 0 {
		t.Error("a buffer is no terminal")
	}
	if System(func(string) string { return "dumb" }).Animated {
		t.Error("a dumb terminal is not animated")
	}
}

// TestTableFits: tables fit a terminal, and are whole in a pipe (trap P12).
func TestTableFits(t *testing.T) {
	cols := func() []column {
		return []column{{title: "name"}, {title: "n", right: true, drop: 1}, {title: "last", drop: 2}}
	}
	rows := func() [][]string {
		return [][]string{{"a name with a tail that is long", "1", "x"}, {"日本", "22,222", ""}}
	}
	for width, want := range map[int]string{
		0:  "name                                   n   last\na name with a tail that is long        1   x\n日本                              22,222\n",
		42: "name                                   n\na name with a tail that is long        1\n日本                              22,222\n",
		35: "name\na name with a tail that is long\n日本\n",
		20: "name\na name with a tail..\n日本\n",
		3:  "name\na name wit..\n日本\n",
	} {
		var out bytes.Buffer
		printTable(&out, width, cols(), rows())
		if out.String() != want {
			t.Errorf("%d:\n%s", width, out.String())
		}
	}
	t.Setenv("RUNEWIDTH_EASTASIAN", "1")
	var out bytes.Buffer
	printTable(&out, 0, []column{{title: "a"}, {title: "b"}}, [][]string{{"ü§", "x"}})
	if out.String() != "a    b\nü§   x\n" {
		t.Errorf("%q", out.String())
	}
}

// TestConfirm: only yes is yes (trap P36), also with the line ends of Windows (trap P14).
func TestConfirm(t *testing.T) {
	for text, want := range map[string]bool{"y\n": true, "YES\r\n": true, " yes": true, "n\n": false, "\n": false, "": false, "yess\n": false} {
		s, out, err := buffers()
		s.In = strings.NewReader(text)
		got, failure := s.Confirm(t.Context(), "Sure?")
		if got != want || failure != nil || out.Len() > 0 || !strings.HasPrefix(err.String(), "Sure? [y/N]: ") {
			t.Errorf("%q: %v, %v, %q", text, got, failure, err.String())
		}
	}
	s, _, _ := buffers()
	r, w := io.Pipe()
	defer w.Close()
	s.In = r
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("stopped")
	cancel(why)
	if _, err := s.Confirm(ctx, "Sure?"); !errors.Is(err, why) {
		t.Error(err)
	}
	_ = w.CloseWithError(why)
	if _, err := s.Confirm(t.Context(), "Sure?"); !errors.Is(err, why) {
		t.Error(err)
	}
}

// TestActivityOffATerminal: a log gets a line a change, and one a minute (trap P11).
func TestActivityOffATerminal(t *testing.T) {
	s, out, err := buffers()
	now := noon
	a := s.Activity(func() time.Time { return now })
	for _, step := range []struct {
		key, line string
		after     time.Duration
	}{
		{"a", "first", 0}, {"a", "not shown", 59 * time.Second}, {"a", "reminder", time.Second}, {"b", "change", time.Second}, {"b", "not shown", time.Second},
	} {
		now = now.Add(step.after)
		a.Show(State{Key: step.key, Line: step.line, Details: func(int) []string { return []string{"never"} }})
	}
	a.Stop()
	if err.String() != "first\nreminder\nchange\n" || out.Len() > 0 {
		t.Errorf("%q", err.String())
	}
}

// TestActivityOnATerminal: a terminal gets a spinner (trap P11).
func TestActivityOnATerminal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no pseudo terminals")
	}
	screen, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	s, _, _ := buffers()
	s.Err, s.ErrTerminal, s.Animated, s.Width = terminal, true, true, func() int { return 40 }
	a := s.Activity(time.Now)
	a.Show(State{Line: "RUNNING, copying " + strings.Repeat("x", 100), Details: func(width int) []string {
		return bars([]api.TableProgress{{Schema: "public", Name: "orders", Phase: api.TableCopying, BytesCopied: 1, BytesTotal: 2}}, width)
	}})
	time.Sleep(150 * time.Millisecond)
	a.Stop()
	_ = terminal.Close()
	text, _ := io.ReadAll(screen) // ends with an error on Linux
	for _, want := range []string{"RUNNING, copying xxxx", "x..", "public.ord..", " 50%", "\x1b[?25h"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is missing in %q", want, text)
		}
	}
	s.Animated = false
	if s.Activity(time.Now).spinner != nil {
		t.Error("a dumb terminal gets a spinner")
	}
}

func TestBars(t *testing.T) {
	var tables []api.TableProgress
	for range 10 {
		tables = append(tables, api.TableProgress{Schema: "public", Name: "a_table_with_a_long_name", Phase: api.TableCopying, BytesCopied: 999_900_000, BytesTotal: 999_900_001})
	}
	tables = append(tables, api.TableProgress{Phase: api.TablePending}, api.TableProgress{Phase: api.TableIndexing, Schema: "s", Name: "t", BytesCopied: 1, BytesTotal: 1})
	for _, width := range []int{37, 57, 77, 200} {
		lines := bars(tables, width)
		if len(lines) != mostBars+1 || lines[mostBars] != "  and 3 more" {
			t.Fatalf("%q", lines)
		}
		for _, line := range lines {
			if len(line) > width && width > 40 {
				t.Errorf("%d: %q", width, line)
			}
		}
	}
	if got := bars(tables[11:], 77)[0]; got != "  s.t [######################################] 100%  indexing" {
		t.Errorf("%q", got)
	}
	if bars(nil, 80) != nil {
		t.Error("lines for nothing")
	}
}

func TestStates(t *testing.T) {
	if got := ReplicationState("RUNNING", nil, noon); got.Line != "RUNNING" || got.Details != nil {
		t.Errorf("%+v", got)
	}
	if got := FinalizationState("RUNNING", &api.FinalizationProgress{}, noon); got.Line != "RUNNING" {
		t.Errorf("%+v", got)
	}
	end := noon.Add(17 * time.Second)
	fast := int64(85_000_000)
	p := &api.ReplicationProgress{Phase: "copying", BytesPerSecond: &fast, EstimatedEnd: &end, BytesTotal: 10, TablesTotal: 5}
	state := ReplicationState("RUNNING", p, noon)
	if state.Line != "RUNNING, copying, 0 B of 10 B (0%), 0 of 0 rows, 85.0 MB/s, about 17s left" || state.Key != "RUNNING copying" {
		t.Errorf("%+v", state)
	}
	if state.Details(80) != nil {
		t.Error("bars for nothing")
	}
	if got := tablesByPhase(p); got != "5" {
		t.Error(got)
	}
}

func TestMessages(t *testing.T) {
	s, out, err := buffers()
	s.ErrTerminal = true
	s.OK()
	s.Note("a note that is %s than the terminal is wide, which is sixty columns", "longer")
	s.Failed("no\nway", " ")
	s.Next("do '%s'", "this")
	want := "OK\na note that is longer than the terminal is wide, which is\nsixty columns\nFAILED\nno way\n\nNext: do 'this'\n"
	if err.String() != want || out.Len() > 0 {
		t.Errorf("%q", err.String())
	}
}

func TestResults(t *testing.T) {
	text := func(s string) *string { return &s }
	number := func(f float32) *float32 { return &f }
	later := noon.Add(3 * time.Minute)
	lagging := int64(12)
	replication := &api.ReplicationProgress{
		Phase: "in-sync", Method: text("logical"), MethodReason: text("the login may replicate"), LagBytes: &lagging, LagSeconds: number(0.25),
		StartedAt: &noon, FinishedAt: &later, TablesTotal: 1, Warnings: []string{"careful"},
		Tables: []api.TableProgress{{Schema: "s", Name: "t", Phase: api.TableReplicating, RowsCopied: 5, Validation: api.Validated}},
	}
	finalization := &api.FinalizationProgress{
		FencedSeconds: number(2.5), StartedAt: &noon, FinishedAt: &later,
		Steps: []api.FinalizationStep{{Name: "fence", StartedAt: noon, Seconds: number(1)}, {Name: "drain", StartedAt: noon}},
		Verification: []api.TableVerification{
			{Schema: "s", Name: "a", SourceRows: 1, TargetRows: 1, Validation: api.Validated},
			{Schema: "s", Name: "b", SourceRows: 2, TargetRows: 1, Validation: api.Mismatched},
			{Schema: "s", Name: "c", SourceRows: 3, Validation: api.ValidationPending},
		},
	}
	for name, test := range map[string]struct {
		print    func(*Streams)
		terminal []string
		last     string // line off a terminal
	}{
		"replication": {
			func(s *Streams) { s.Replication("IN-SYNC", replication, noon) },
			[]string{
				"status:   IN-SYNC\n", "phase:    in-sync\n", "lag:      12 B, 0.2s behind\n", "method:   logical: the login may replicate\n",
				"tables:   1, 1 replicating\n", "took:     3m0s\n", "warnings\n  - careful\n",
			},
			"IN-SYNC",
		},
		"plain replication": {func(s *Streams) { s.Replication("RUNNING", nil, noon) }, []string{"status:   RUNNING\n"}, "RUNNING"},
		"finalization": {
			func(s *Streams) { s.Finalization("FAILED", finalization, noon.Add(time.Minute)) },
			[]string{
				"status:   FAILED\n", "took:     3m0s\n", "fenced:   2.5s", "fence          1.0s\n", "drain   1m0s so far\n",
				"s.a               1             1   yes\n", "s.b               2             1   NO\n", "s.c               3             0   pending\n",
				"3 tables, 6 rows in the source: 1 table not equal\n",
			},
			"FAILED",
		},
		"plain finalization": {func(s *Streams) { s.Finalization("COMPLETED", nil, noon) }, []string{"status:   COMPLETED\n"}, "COMPLETED"},
		"half a verification": {
			func(s *Streams) { s.verification(finalization.Verification[2:]) },
			[]string{"1 table, 3 rows in the source: 1 table not verified\n"},
			"1 table, 3 rows in the source: 1 table not verified",
		},
		"all equal": {
			func(s *Streams) { s.verification(finalization.Verification[:1]) },
			[]string{"1 table, 1 row in the source: all equal\n"},
			"1 table, 1 row in the source: all equal",
		},
		"tables": {
			func(s *Streams) { s.Tables(*replication, noon, 10) },
			[]string{"s.t     replicating     100%      5    0 B   validated", "tables:       1, 1 replicating\n"},
			"validation:   1 validated",
		},
		"preflight": {
			func(s *Streams) {
				s.Preflight(migration, api.PreflightCheck{
					SourceDatabaseIssues: api.DatabaseIssues{Critical: []string{strings.Repeat("word ", 20)}, Warning: []string{"w"}},
				})
			},
			[]string{"source database a\n  critical word", "\n           word", "\n  warning  w\n", "target database b\n  no issues\n"},
			"  no issues",
		},
		"target": {
			func(s *Streams) {
				s.Target(api.Instances{SourceServiceInstanceName: "a", SourceServiceKeyName: "k", Org: "o", Space: "s"}, "https://cf", "")
			},
			[]string{"source:   a with key k\n", "cf api:   https://cf\n"},
			"cf api:   https://cf",
		},
		"api": {
			func(s *Streams) { s.API("https://x", "saved", true, "/ca") },
			[]string{"api:            https://x\n", "certificates:   not checked\n", "ca file:        /ca\n"},
			"ca file:        /ca",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, out, err := buffers()
			s.OutTerminal = true
			test.print(s)
			for _, want := range test.terminal {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is missing in\n%s", want, out.String())
				}
			}
			s.OutTerminal = false
			out.Reset()
			test.print(s)
			lines := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
			if got := lines[len(lines)-1]; got != test.last || err.Len() > 0 {
				t.Errorf("last line %q", got)
			}
		})
	}
}
