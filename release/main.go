// Command release builds all that a release of the plugin has: a binary for each platform, an SBOM of each, sums, and
// the entry for the plugin index of the Cloud Foundry community.
//
// The same commit, version and Go give the same bytes, wherever they are built: whoever doubts a release can build it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/plugin"
)

// homepage is where the project lives, and where its releases are downloaded.
const homepage = "https://github.com/cf-pg-migrate/cf-pg-migrate"

func main() {
	version := flag.String("version", "", "`VERSION` of the release, such as v1.2.3")
	out := flag.String("out", ".build/release", "new or empty `FOLDER` for the files")
	base := flag.String("base-url", "", "`URL` below which the files will be found (default: the release at GitHub)")
	tool := flag.String("sbom-tool", ".build/bin/cyclonedx-gomod", "`PATH` of cyclonedx-gomod")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *version, *out, *base, *tool)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, version, out, base, tool string) error {
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	v, err := parseVersion(version)
	if err != nil {
		return err
	}
	if base == "" {
		base = homepage + "/releases/download/" + v.tag()
	}
	if u, err := url.Parse(base); err != nil || u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("the base URL %q is not of the form https://HOST/PATH, as the plugin index demands", base)
	}
	date, err := commitDate(ctx, ".")
	if err != nil {
		return err
	}
	r := release{
		version: v,
		out:     out,
		base:    base,
		date:    date,
		log:     os.Stderr,
		build:   func(ctx context.Context, t target, path string) error { return t.build(ctx, ".", v, path) },
		inspect: func(ctx context.Context, path string) error { return writeSBOM(ctx, tool, v, path) },
	}
	return r.make(ctx)
}

// release is what is made of one version.
type release struct {
	version version
	out     string
	base    string
	date    time.Time
	log     io.Writer

	// build writes the binary of a target, and inspect writes the SBOM beside a binary.
	build   func(ctx context.Context, t target, path string) error
	inspect func(ctx context.Context, path string) error
}

// make fills the folder of the release.
func (r *release) make(ctx context.Context) error {
	if err := newFolder(r.out); err != nil {
		return err
	}
	var binaries, slices []string
	for _, t := range targets {
		name := t.file(r.version)
		fmt.Fprintln(r.log, name)
		if err := r.build(ctx, t, filepath.Join(r.out, name)); err != nil {
			return err
		}
		binaries = append(binaries, name)
		if t.os == universal.os {
			slices = append(slices, filepath.Join(r.out, name))
		}
	}

	name := universal.file(r.version)
	fmt.Fprintln(r.log, name)
	if err := writeUniversal(filepath.Join(r.out, name), slices); err != nil {
		return err
	}
	binaries = append(binaries, name)

	var sboms []string
	for _, binary := range binaries {
		if err := r.inspect(ctx, filepath.Join(r.out, binary)); err != nil {
			return err
		}
		sboms = append(sboms, binary+sbomSuffix)
	}
	if err := writeSums(r.out, append(binaries, sboms...)); err != nil {
		return err
	}
	return r.writeEntry()
}

// writeEntry writes the entry for the plugin index, unless the index would refuse it.
func (r *release) writeEntry() error {
	if !r.version.final() {
		fmt.Fprintf(r.log, "%s gets no %s: the plugin index takes versions of three numbers only\n", r.version.tag(), entryFile)
		return nil
	}
	metadata := (&plugin.PgMigrate{Version: r.version.number()}).GetMetadata()
	entry, err := newEntry(metadata, r)
	if err != nil {
		return err
	}
	return entry.write(filepath.Join(r.out, entryFile))
}

// newFolder makes a folder. What lies in it from an earlier release would be released again, and to remove it is not
// for a program that was given any path.
func newFolder(path string) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("making the folder of the release: %w", err)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("looking into the folder of the release: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("writing the release: %s is not empty: %w", path, fs.ErrExist)
	}
	return nil
}

// commitDate is when the commit was made that is checked out in a folder. It stands for the date of the release: the
// clock would say something else each time.
func commitDate(ctx context.Context, folder string) (time.Time, error) {
	text, err := output(exec.CommandContext(ctx, "git", "-C", folder, "log", "-1", "--format=%cI"))
	if err != nil {
		return time.Time{}, fmt.Errorf("asking git for the date of the commit: %w", err)
	}
	date, err := time.Parse(time.RFC3339, strings.TrimSpace(text))
	if err != nil {
		return time.Time{}, fmt.Errorf("reading the date of the commit: %w", err)
	}
	return date.UTC(), nil
}

// output runs a command and gives what it printed; what it complained of is in the error.
func output(command *exec.Cmd) (string, error) {
	text, err := command.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return string(text), err
}
