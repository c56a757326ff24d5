package plugin_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/creack/pty"

	"github.com/cf-pg-migrate/cf-pg-migrate/client/clienttest"
)

// TestPage runs docs/cli.md: each line that begins with a dollar sign is typed on a terminal, and what follows it has to
// be what comes out. Comments before a block say what the service answers from there on, and what is typed at a prompt.
// With -update the page is written anew.
func TestPage(t *testing.T) {
	const page = "../docs/cli.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	r := newReader(t)
	got := r.read(string(text))
	if *update {
		if err := os.WriteFile(page, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got != string(text) {
		t.Errorf("%s is not what the plugin prints, see -update:\n%s", page, got)
	}
}

// reader does what a reader of the page would do.
type reader struct {
	t      *testing.T
	api    *clienttest.API
	run    func(args ...string) *exec.Cmd
	typed  *string // at the next prompt, if somebody is asked
	status int     // of the command before
}

func newReader(t *testing.T) *reader {
	api, run := home(t)
	return &reader{t: t, api: api, run: run}
}

// read gives the page with the outputs of now.
func (r *reader) read(page string) string {
	var result strings.Builder
	inside := false
	for line := range strings.Lines(page) {
		comment, isComment := strings.CutPrefix(line, "<!-- ")
		command, isCommand := strings.CutPrefix(line, "$ ")
		switch {
		case isComment:
			r.obey(strings.TrimSuffix(strings.TrimSpace(comment), "-->"))
			result.WriteString(line)
		case line == "```console\n":
			inside = true
			result.WriteString(line)
		case line == "```\n":
			inside = false
			result.WriteString(line)
		case inside && isCommand:
			fmt.Fprintf(&result, "%s%s", line, r.do(strings.TrimSpace(command)))
		case !inside:
			result.WriteString(line)
		}
	}
	return result.String()
}

// obey does what a comment says: "service: GET /v1/replication ANSWER...", or "type: TEXT".
func (r *reader) obey(comment string) {
	what, rest, _ := strings.Cut(comment, ":")
	switch what {
	case "service":
		words := strings.Fields(rest)
		var answers []clienttest.Answer
		for _, word := range words[2:] {
			answer, err := parseAnswer(word, func(file string) (string, error) {
				text, err := os.ReadFile(filepath.Join("testdata/cli", file))
				return string(text), err
			})
			if err != nil {
				r.t.Fatal(err)
			}
			answers = append(answers, answer)
		}
		r.api.On(words[0]+" "+words[1], answers...)
	case "type":
		text := strings.TrimSpace(rest) + "\r"
		r.typed = &text
	default:
		r.t.Fatalf("unknown comment %q", comment)
	}
}

var prompt = []byte("[y/N]: ")

// do types a command and gives what a terminal without colours and cursor shows.
func (r *reader) do(line string) string {
	if line == "echo $?" {
		return fmt.Sprintln(r.status)
	}
	cf := r.run()
	command := exec.CommandContext(r.t.Context(), "bash", "-c", line)
	command.Env = append(cf.Env, "PATH="+filepath.Dir(cf.Path)+":"+os.Getenv("PATH"), "TERM=dumb")
	terminal, err := pty.StartWithSize(command, &pty.Winsize{Rows: 50, Cols: 120})
	if err != nil {
		r.t.Fatal(err)
	}
	defer terminal.Close()
	var all bytes.Buffer
	for some := make([]byte, 1024); ; {
		n, err := terminal.Read(some)
		all.Write(some[:n])
		if r.typed != nil && bytes.HasSuffix(all.Bytes(), prompt) {
			fmt.Fprint(terminal, *r.typed)
			r.typed = nil
		}
		if err != nil { // the end of a terminal is an error
			break
		}
	}
	_ = command.Wait()
	r.status = command.ProcessState.ExitCode()
	text := strings.ReplaceAll(all.String(), "\r\n", "\n")
	text = strings.ReplaceAll(text, r.api.URL, "https://pg-migrate.cf.example.com")
	text = strings.ReplaceAll(text, strings.TrimPrefix(r.api.URL, "http://"), "pg-migrate.cf.example.com")
	return regexp.MustCompile(`http://127\.0\.0\.1:\d+`).ReplaceAllString(text, "https://api.cf.example.com")
}
