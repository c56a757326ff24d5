// Package schema copies a database's schema with pg_dump and pg_restore, entry by entry, so that each part comes at its time.
package schema

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
)

// Tools are the paths of the two programs, of the same version, 18 or newer.
type Tools struct {
	PgDump    string
	PgRestore string
}

// Connection is what pg_dump needs to reach the source: libpq's environment variables (PostgreSQL manual, 32.15) as
// NAME=value. The password goes this way because a process list shows arguments, not another user's environment.
type Connection []string

// ErrLockTableFull says that pg_dump, which locks all tables at once, found no room for that on the source.
var ErrLockTableFull = errors.New("pg_dump cannot lock all tables")

// ErrDeadlock says that pg_dump, which locks all tables at once, met a session that locks them in another order.
var ErrDeadlock = errors.New("pg_dump met a deadlock")

// Entry is one entry of the dump: an object with the statements that create it.
type Entry struct {
	Kind       string // as pg_dump names it: TABLE, INDEX, FK CONSTRAINT …
	Schema     string // "-" when it has none
	Name       string // as pg_dump writes it, for people: "orders orders_pkey"
	Statements string
}

// String names the entry for people.
func (e Entry) String() string {
	if e.Schema == "-" || e.Schema == "" {
		return strings.ToLower(e.Kind) + " " + e.Name
	}
	return strings.ToLower(e.Kind) + " " + e.Name + " in schema " + e.Schema
}

// Dump is a dumped schema.
type Dump struct {
	Before []Entry // what must exist before the data: schemas, types, functions, tables …
	After  []Entry // what comes after the data: indexes, constraints, triggers …
	// DropSQL removes, in the right order, what Before creates, for Drop.
	DropSQL string
	// LeftOptions are the names of options of columns that only the source's server knows, and that are left out.
	LeftOptions []string
}

// Options say what to dump.
type Options struct {
	Snapshot      string          // exported on the source
	Encoding      string          // of the dump, which is that of the sessions that run it
	ExcludeSchema string          // pattern of schemas to leave out
	Existing      map[string]bool // extensions and schemas that the target has already, as "EXTENSION hstore"; they are left as they are
}

// Read dumps the schema of the source. Owners and privileges are left out, and so are publications, subscriptions, event
// triggers and the comments on extensions, which only a superuser can set.
func (t Tools) Read(ctx context.Context, source Connection, o Options) (*Dump, error) {
	folder, err := os.MkdirTemp("", "pg-migrate-schema-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the schema dump: %w", err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	archive := filepath.Join(folder, "schema.dump")
	_, err = t.run(ctx, source, t.PgDump,
		"--format=custom", "--schema-only", "--file="+archive, "--snapshot="+o.Snapshot, "--encoding="+o.Encoding, "--exclude-schema="+o.ExcludeSchema,
		"--no-owner", "--no-acl", "--no-publications", "--no-subscriptions", "--no-security-labels", "--no-tablespaces", "--no-password")
	if err != nil {
		return nil, fmt.Errorf("dumping the schema of the source: %w", err)
	}
	contents, err := t.run(ctx, nil, t.PgRestore, "--list", archive)
	if err != nil {
		return nil, fmt.Errorf("listing the schema dump: %w", err)
	}
	list := filepath.Join(folder, "list")
	if err := os.WriteFile(list, []byte(keepWanted(string(contents), o.Existing)), 0o600); err != nil {
		return nil, fmt.Errorf("writing the list of the schema dump: %w", err)
	}
	var d Dump
	if d.Before, err = t.entries(ctx, archive, list, "pre-data"); err != nil {
		return nil, err
	}
	if d.After, err = t.entries(ctx, archive, list, "post-data"); err != nil {
		return nil, err
	}
	for i := range d.Before {
		d.LeftOptions = append(d.LeftOptions, leaveOptions(&d.Before[i])...)
	}
	slices.Sort(d.LeftOptions)
	d.LeftOptions = slices.Compact(d.LeftOptions)
	if d.DropSQL, err = t.dropSQL(ctx, archive, list); err != nil {
		return nil, err
	}
	return &d, nil
}

// A line of pg_restore --list: "215; 1259 16385 TABLE public orders app".
var listLine = regexp.MustCompile(`^(\d+); (\d+) (\d+) (.*)$`)

// keepWanted comments out the lines of what is not carried over or is on the target already.
func keepWanted(list string, existing map[string]bool) string {
	var kept strings.Builder
	for line := range strings.Lines(list) {
		if m := listLine.FindStringSubmatch(strings.TrimSuffix(line, "\n")); m != nil && !wanted(m[4], existing) {
			kept.WriteString(";")
		}
		kept.WriteString(line)
	}
	return kept.String()
}

func wanted(description string, existing map[string]bool) bool {
	for _, kind := range []string{"COMMENT - EXTENSION ", "EVENT TRIGGER ", "COMMENT - EVENT TRIGGER ", "PUBLICATION ", "SUBSCRIPTION ", "DATABASE "} {
		if strings.HasPrefix(description, kind) {
			return false
		}
	}
	// "EXTENSION - hstore ", "SCHEMA - sales app", "COMMENT - SCHEMA sales app": the owner stands last; an extension has none.
	object := strings.Replace(description, " - ", " ", 1)
	if i := strings.LastIndex(object, " "); i >= 0 {
		object = object[:i]
	}
	return !existing[strings.TrimPrefix(object, "COMMENT ")]
}

var (
	// The comment that pg_restore --verbose writes before each entry.
	entryHeader = regexp.MustCompile(`(?m)^--\n-- TOC entry (\d+) \(class \d+ OID \d+\)\n(?:-- Dependencies: [\d ]*\n)?-- Name: ((?s:.*?)); Type: ([A-Z ]+); Schema: ((?s:.*?)); Owner: -(?:; Tablespace: .*)?\n(?:-- Data Pos: \d+\n)?--\n`)
	listID      = regexp.MustCompile(`(?m)^(\d+); `)
)

func (t Tools) entries(ctx context.Context, archive, list, section string) ([]Entry, error) {
	expected, err := t.run(ctx, nil, t.PgRestore, "--list", "--use-list="+list, "--section="+section, archive)
	if err != nil {
		return nil, fmt.Errorf("listing the schema dump: %w", err)
	}
	script, err := t.run(ctx, nil, t.PgRestore, "--verbose", "--no-owner", "--no-acl", "--file=-", "--use-list="+list, "--section="+section, archive)
	if err != nil {
		return nil, fmt.Errorf("writing out the schema dump: %w", err)
	}
	var ids []string
	for _, m := range listID.FindAllStringSubmatch(string(expected), -1) {
		ids = append(ids, m[1])
	}
	return split(string(script), ids)
}

// split cuts the script at the headers of the entries that ids announces, in that order. A text inside of a function body
// that only looks like a header does not follow that order, and is left where it is.
func split(script string, ids []string) ([]Entry, error) {
	var entries []Entry
	end := len(script)
	if i := strings.LastIndex(script, "\n-- Completed on "); i >= 0 {
		end = i
	}
	next := 0
	for _, m := range entryHeader.FindAllStringSubmatchIndex(script[:end], -1) {
		if next == len(ids) || script[m[2]:m[3]] != ids[next] {
			continue
		}
		next++
		if len(entries) > 0 {
			last := &entries[len(entries)-1]
			last.Statements = strings.TrimSpace(script[len(script)-len(last.Statements) : m[0]])
		}
		entries = append(entries, Entry{
			Name:       script[m[4]:m[5]],
			Kind:       script[m[6]:m[7]],
			Schema:     script[m[8]:m[9]],
			Statements: script[m[1]:], // up to the next header, which the next round cuts
		})
	}
	if next != len(ids) {
		return nil, fmt.Errorf("reading the schema dump: entry %s of the archive is not in the script", ids[next])
	}
	if len(entries) > 0 {
		last := &entries[len(entries)-1]
		last.Statements = strings.TrimSpace(script[len(script)-len(last.Statements) : end])
	}
	return entries, nil
}

func (t Tools) dropSQL(ctx context.Context, archive, list string) (string, error) {
	script, err := t.run(ctx, nil, t.PgRestore, "--clean", "--if-exists", "--verbose", "--no-owner", "--no-acl", "--file=-", "--use-list="+list, "--section=pre-data", archive)
	if err != nil {
		return "", fmt.Errorf("writing out how to drop the schema: %w", err)
	}
	text := string(script)
	if m := entryHeader.FindStringIndex(text); m != nil {
		text = text[:m[0]]
	}
	_, drops, _ := strings.Cut(text, "\nSET row_security = off;\n") // the last of the settings at its head
	return strings.TrimSpace(drops), nil
}

// run runs a program and gives its standard output; its error holds the last lines of standard error.
func (t Tools) run(ctx context.Context, connection Connection, program string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append([]string{"LC_ALL=C", "PATH=" + os.Getenv("PATH")}, connection...)
	var out bytes.Buffer
	var errs tail
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			// It gives no SQLSTATE, only the server's words. The name of a setting is the same in every language.
			switch said := string(errs.text); {
			case strings.Contains(said, database.LockTableSetting):
				return nil, ErrLockTableFull
			case strings.Contains(said, "deadlock detected"):
				return nil, fmt.Errorf("%w: %s", ErrDeadlock, errs.lastLines())
			}
			return nil, fmt.Errorf("%s: %s", filepath.Base(program), errs.lastLines())
		}
		return nil, err
	}
	return out.Bytes(), nil
}

// tail keeps the end of what is written to it.
type tail struct{ text []byte }

const tailBytes = 4096

var _ io.Writer = (*tail)(nil)

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if len(t.text) > tailBytes {
		t.text = t.text[len(t.text)-tailBytes:]
	}
	return len(p), nil
}

// lastLines gives the error lines without the chatter of --verbose.
func (t *tail) lastLines() string {
	var lines []string
	for line := range strings.Lines(string(t.text)) {
		if line = strings.TrimSpace(line); strings.Contains(line, "error:") || strings.Contains(line, "detail:") || strings.Contains(line, "hint:") {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return strings.TrimSpace(string(t.text))
	}
	return strings.Join(lines, "; ")
}
