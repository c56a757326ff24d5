package main

import (
	"bytes"
	"context"
	"debug/elf"
	"debug/macho"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	yaml "github.com/oasdiff/yaml3"
)

const released = version("v1.2.3")

func TestVersion(t *testing.T) {
	for _, text := range []string{"v1.2.3", "v0.0.0", "v1.2.3-rc.1", "v1.2.3-4-g40be0f2-dirty", "v1.2.3+linux"} {
		if _, err := parseVersion(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"", "1.2.3", "v1.2", "v1", "v1.2.3.4", "v01.2.3", "v1.2.3-", "v1.2.3-01", "vx.y.z", "v1.2.3 ", "v1.2.3\n", "main"} {
		err := run(t.Context(), text, t.TempDir(), "", "")
		if err == nil || !strings.Contains(err.Error(), "is not semantic: it has to look like v1.2.3") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestUniversal(t *testing.T) {
	folder := t.TempDir()
	contents := [][]byte{mac(macho.CpuAmd64, 3, 40_000), mac(macho.CpuArm64, 0, 12_345)}
	var files []string
	for i, content := range contents {
		files = append(files, filepath.Join(folder, string(rune('a'+i))))
		write(t, files[i], content)
	}
	path := filepath.Join(folder, "universal")
	if err := writeUniversal(path, files); err != nil {
		t.Fatal(err)
	}

	all := read(t, path)
	file, err := macho.OpenFat(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if len(file.Arches) != 2 || file.Arches[0].Cpu != macho.CpuAmd64 || file.Arches[1].Cpu != macho.CpuArm64 {
		t.Fatalf("architectures: %v", file.Arches)
	}
	for i, arch := range file.Arches {
		if arch.Offset%(1<<14) != 0 || arch.Align != 14 {
			t.Errorf("slice %d begins at %d, aligned to %d", i, arch.Offset, arch.Align)
		}
		if !bytes.Equal(all[arch.Offset:arch.Offset+arch.Size], contents[i]) {
			t.Errorf("slice %d is not what it was", i)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o100 == 0 {
		t.Errorf("%v cannot be run: %v", info.Mode(), err)
	}

	write(t, files[1], []byte("no Mach-O file"))
	if err := writeUniversal(path, files); err == nil || !strings.Contains(err.Error(), files[1]) {
		t.Errorf("of no Mach-O file: %v", err)
	}
}

// TestRelease makes a release of small files in place of binaries.
func TestRelease(t *testing.T) {
	r := small(t, released)
	if err := r.make(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"SHA1SUMS", "SHA256SUMS",
		"cf-pg-migrate-1.2.3-linux-386", "cf-pg-migrate-1.2.3-linux-amd64", "cf-pg-migrate-1.2.3-linux-arm64",
		"cf-pg-migrate-1.2.3-macos-amd64", "cf-pg-migrate-1.2.3-macos-arm64", "cf-pg-migrate-1.2.3-macos-universal",
		"cf-pg-migrate-1.2.3-windows-386.exe", "cf-pg-migrate-1.2.3-windows-amd64.exe", "cf-pg-migrate-1.2.3-windows-arm64.exe",
		"plugin-index-entry.yml",
	}
	for _, name := range want[2:11] {
		want = append(want, name+".cdx.json")
	}
	slices.Sort(want)
	if got := names(t, r.out); !slices.Equal(got, want) {
		t.Errorf("files:\n%s\nwanted:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	t.Run("sums", func(t *testing.T) { checkSums(t, r.out, 18) })
	t.Run("entry", func(t *testing.T) { checkEntry(t, r) })
	t.Run("again", func(t *testing.T) {
		if err := r.make(t.Context()); !errors.Is(err, fs.ErrExist) {
			t.Errorf("into a folder with a release: %v", err)
		}
	})
}

// The plugin index takes no pre-releases.
func TestPrerelease(t *testing.T) {
	r := small(t, "v1.2.3-rc.1")
	if err := r.make(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := names(t, r.out)
	if slices.Contains(got, entryFile) || !slices.Contains(got, "cf-pg-migrate-1.2.3-rc.1-linux-amd64") {
		t.Errorf("files: %q", got)
	}
}

func TestFailures(t *testing.T) {
	failure := errors.New("no space left")
	r := small(t, released)
	r.build = func(context.Context, target, string) error { return failure }
	if err := r.make(t.Context()); !errors.Is(err, failure) {
		t.Errorf("the build fails: %v", err)
	}
	r = small(t, released)
	r.inspect = func(context.Context, string) error { return failure }
	if err := r.make(t.Context()); !errors.Is(err, failure) {
		t.Errorf("the SBOM fails: %v", err)
	}
	for _, base := range []string{"http://example.com", "example.com/files", "https:///files", "%"} {
		if err := run(t.Context(), released.tag(), t.TempDir(), base, ""); err == nil || !strings.Contains(err.Error(), "base URL") {
			t.Errorf("base URL %s: %v", base, err)
		}
	}
	if _, err := commitDate(t.Context(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a git repository") {
		t.Errorf("date without git: %v", err)
	}
	if err := targets[0].build(t.Context(), t.TempDir(), released, "x"); err == nil || !strings.Contains(err.Error(), "go.mod") {
		t.Errorf("build of nothing: %v", err)
	}
}

// TestBuild builds the plugin for Linux twice, from two folders, and the second time with nothing from the cache: what
// the cache has compiled would be the same in any case. It needs no C library (trap P42).
func TestBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("builds everything twice")
	}
	linux := targets[0]
	first := copyModule(t, "..")
	second := filepath.Join(t.TempDir(), "a", "longer", "path")
	if err := os.CopyFS(second, os.DirFS(first)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), linux.file(released))
	if err := linux.build(t.Context(), first, released, path); err != nil {
		t.Fatal(err)
	}

	t.Run("reproducible", func(t *testing.T) {
		t.Setenv("GOCACHE", t.TempDir())
		again := path + "-again"
		if err := linux.build(t.Context(), second, released, again); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(read(t, path), read(t, again)) {
			t.Error("two folders give two binaries")
		}
	})

	t.Run("static", func(t *testing.T) {
		file, err := elf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		for _, p := range file.Progs {
			if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
				t.Errorf("the binary has a %v", p.Type)
			}
		}
		if file.Section(".dynamic") != nil {
			t.Error("the binary has a dynamic section")
		}
		if info, err := os.Stat(path); err != nil || info.Size() > 12<<20 {
			t.Errorf("the binary has %d bytes: %v", info.Size(), err)
		}
	})

	t.Run("version", func(t *testing.T) {
		text, err := output(exec.CommandContext(t.Context(), path, "--version"))
		if err != nil || strings.TrimSpace(text) != released.number() {
			t.Errorf("%q, %v", text, err)
		}
	})

	t.Run("SBOM", func(t *testing.T) { checkSBOM(t, path) })
}

// checkSums has the system's own programs check the sums of a folder.
func checkSums(t *testing.T, folder string, files int) {
	for file, program := range map[string]string{"SHA1SUMS": "sha1sum", "SHA256SUMS": "sha256sum"} {
		command := exec.CommandContext(t.Context(), program, "--check", "--strict", file)
		command.Dir = folder
		text, err := output(command)
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if n := strings.Count(text, ": OK\n"); n != files {
			t.Errorf("%s: %d files are good, wanted %d", file, n, files)
		}
	}
}

// checkEntry checks what the tests of cli-plugin-repo check.
func checkEntry(t *testing.T, r *release) {
	text := read(t, filepath.Join(r.out, entryFile))
	var list []yaml.Node
	if err := yaml.Unmarshal(text, &list); err != nil || len(list) != 1 {
		t.Fatalf("%d entries: %v", len(list), err)
	}
	checkSorted(t, &list[0])

	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	var entries []entry
	if err := decoder.Decode(&entries); err != nil {
		t.Fatal(err)
	}
	e := entries[0]
	if e.Name != "pg-migrate" || !regexp.MustCompile(`^\d+\.\d+\.\d+$`).MatchString(e.Version) || "v"+e.Version != released.tag() {
		t.Errorf("name %q, version %q", e.Name, e.Version)
	}
	if e.Description == "" || !e.Created.Equal(r.date) || !e.Updated.Equal(r.date) {
		t.Errorf("description %q, created %s, updated %s", e.Description, e.Created, e.Updated)
	}
	sha1sums := string(read(t, filepath.Join(r.out, "SHA1SUMS")))
	var platforms []string
	for _, b := range e.Binaries {
		platforms = append(platforms, b.Platform)
		name, found := strings.CutPrefix(b.URL, r.base+"/")
		if !found || !strings.HasPrefix(b.URL, "https://") || !strings.Contains(b.URL, e.Version) {
			t.Errorf("%s: URL %s", b.Platform, b.URL)
		}
		if !strings.Contains(sha1sums, b.Checksum+"  "+name+"\n") {
			t.Errorf("%s: checksum %s is not that of %s", b.Platform, b.Checksum, name)
		}
	}
	if want := []string{"linux32", "linux64", "osx", "win32", "win64"}; !slices.Equal(platforms, want) {
		t.Errorf("platforms: %q, wanted %q", platforms, want)
	}
}

// checkSorted tells whether the fields of a mapping, and of all below, are in the order of the alphabet.
func checkSorted(t *testing.T, node *yaml.Node) {
	if node.Kind == yaml.MappingNode {
		var keys []string
		for i := 0; i < len(node.Content); i += 2 {
			keys = append(keys, node.Content[i].Value)
		}
		if !slices.IsSorted(keys) {
			t.Errorf("fields are not sorted: %q", keys)
		}
	}
	for _, child := range node.Content {
		checkSorted(t, child)
	}
}

// checkSBOM has the real tool describe a binary twice.
func checkSBOM(t *testing.T, path string) {
	tool := filepath.Join(t.TempDir(), "cyclonedx-gomod")
	if _, err := output(exec.CommandContext(t.Context(), "go", "build", "-C", "../tools/cyclonedx-gomod", "-o", tool,
		"github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod")); err != nil {
		t.Fatalf("build the tool: %v", err)
	}
	var texts [2][]byte
	for i := range texts {
		if err := writeSBOM(t.Context(), tool, released, path); err != nil {
			t.Fatal(err)
		}
		texts[i] = read(t, path+sbomSuffix)
	}
	if !bytes.Equal(texts[0], texts[1]) {
		t.Error("one binary has two SBOMs")
	}
	type component struct {
		Name string `json:"name"`
	}
	var sbom struct {
		Format   string `json:"bomFormat"`
		Serial   string `json:"serialNumber"`
		Metadata struct {
			Timestamp string `json:"timestamp"`
			Component struct {
				Version string `json:"version"`
			} `json:"component"`
		} `json:"metadata"`
		Components []component `json:"components"`
	}
	if err := json.Unmarshal(texts[0], &sbom); err != nil {
		t.Fatal(err)
	}
	if sbom.Format != "CycloneDX" || sbom.Serial != "" || sbom.Metadata.Timestamp != "" || sbom.Metadata.Component.Version != "v1.2.3" {
		t.Errorf("head of the SBOM: %+v", sbom.Metadata)
	}
	for _, name := range []string{"std", "code.cloudfoundry.org/cli", "github.com/go-resty/resty/v2"} {
		if !slices.Contains(sbom.Components, component{name}) {
			t.Errorf("the SBOM does not name %s", name)
		}
	}
}

// small is a release whose binaries are a few bytes.
func small(t *testing.T, v version) *release {
	return &release{
		version: v,
		out:     filepath.Join(t.TempDir(), "release"),
		base:    "https://example.com/files",
		date:    time.Date(2026, 11, 21, 7, 0, 0, 0, time.UTC),
		log:     io.Discard,
		build: func(_ context.Context, target target, path string) error {
			content := []byte(target.os + target.arch)
			if target.os == "darwin" {
				cpus := map[string]macho.Cpu{"amd64": macho.CpuAmd64, "arm64": macho.CpuArm64}
				content = mac(cpus[target.arch], 0, 500)
			}
			return os.WriteFile(path, content, 0o755)
		},
		inspect: func(_ context.Context, path string) error {
			return os.WriteFile(path+sbomSuffix, []byte("{}"), 0o644)
		},
	}
}

// mac gives a Mach-O file that holds nothing.
func mac(cpu macho.Cpu, sub uint32, size int) []byte {
	var content bytes.Buffer
	_ = binary.Write(&content, binary.LittleEndian, macho.FileHeader{
		Magic: macho.Magic64, Cpu: cpu, SubCpu: sub, Type: macho.TypeExec,
	})
	return append(content.Bytes(), bytes.Repeat([]byte{byte(cpu)}, size)...)
}

// copyModule copies the files that git knows, or would, into a folder of its own.
func copyModule(t *testing.T, module string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "git", "-C", module, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	text, err := output(command)
	if err != nil {
		t.Fatalf("list the files: %v", err)
	}
	folder := t.TempDir()
	for name := range strings.SplitSeq(strings.TrimSuffix(text, "\x00"), "\x00") {
		content, err := os.ReadFile(filepath.Join(module, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed, but not yet from git
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, path, content)
	}
	return folder
}

func names(t *testing.T, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}
