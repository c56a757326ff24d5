package engine_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/cf-pg-migrate/cf-pg-migrate"
	root   = module + "/service/engine"

	// upMax is how many files of the root may use one that stands above them.
	upMax = 0
)

// rooms are the packages below the root, from the top floor down: each may import only those that come after it.
var rooms = []string{
	"cutover", "method/offline", "method/logical", "method", "transfer", "drift", "build", "trust", "job", "progress", "preflight",
	"verify", "largeobject", "ledger", "snapshot", "schema", "fence", "stream", "capture", "catalog", "database", "socket", "failure",
}

// doors are the files of the root, from the top floor down.
var doors = []string{
	"remove.go", "finalize.go", "run.go", "replication.go", "classify.go", "stages.go",
	"begin.go", "copying.go", "follow.go", "release.go", "attempt.go", "engine.go", "migration.go",
}

// pkg is what `go list` says of a package.
type pkg struct {
	ImportPath, Dir, Export string
	GoFiles, Imports        []string
}

// list lists the packages of the engine, and with all those that they need.
func list(t *testing.T) (engine []pkg, exports map[string]string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,Imports", root+"/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	exports = map[string]string{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return engine, exports
		} else if err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
		if strings.HasPrefix(p.ImportPath, root) {
			engine = append(engine, p)
		}
	}
}

// Nothing below imports the root, and every room only what lies below it.
func TestRoomsUseOnlyWhatLiesBelow(t *testing.T) {
	t.Parallel()
	engine, _ := list(t)
	floor := map[string]int{root: 0}
	for i, r := range rooms {
		floor[root+"/"+r] = i + 1
	}
	seen := 0
	for _, p := range engine {
		if strings.HasSuffix(p.ImportPath, "test") { // what tests import
			continue
		}
		from, known := floor[p.ImportPath]
		if !known {
			t.Errorf("%s has no floor", p.ImportPath)
			continue
		}
		seen++
		for _, imported := range p.Imports {
			if to, ours := floor[imported]; ours && to <= from {
				t.Errorf("%s imports %s, which lies above it", p.ImportPath, imported)
			}
		}
	}
	if seen != len(floor) {
		t.Errorf("%d of %d rooms exist", seen, len(floor))
	}
}

// windows are the rooms that others look into. Everything else is asked of the root.
var windows = []string{"database", "failure", "preflight", "progress"}

// Others know the root and the windows only, but for tests and what is for tests.
func TestOthersUseTheDoor(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	users := 0
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		if strings.HasPrefix(words[0], root) {
			continue
		}
		for _, imported := range words[1:] {
			switch room, ours := strings.CutPrefix(imported, root+"/"); {
			case imported == root:
				users++
			case ours && !slices.Contains(windows, room):
				t.Errorf("%s imports %s", words[0], imported)
			}
		}
	}
	if users < 3 {
		t.Errorf("only %d packages use the engine", users)
	}
}

// The root is the door and the machine: its files, too, use what lies below them, but for a few.
func TestFilesOfTheRootUseWhatLiesBelow(t *testing.T) {
	t.Parallel()
	engine, exports := list(t)
	i := slices.IndexFunc(engine, func(p pkg) bool { return p.ImportPath == root })
	if files := slices.Sorted(slices.Values(doors)); !slices.Equal(files, engine[i].GoFiles) {
		t.Fatalf("the root has the files\n%v and not\n%v", engine[i].GoFiles, files)
	}
	set := token.NewFileSet()
	var files []*ast.File
	for _, name := range doors {
		f, err := parser.ParseFile(set, filepath.Join(engine[i].Dir, name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	config := types.Config{Importer: importer.ForCompiler(set, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })}
	info := types.Info{Uses: map[*ast.Ident]types.Object{}}
	checked, err := config.Check(root, set, files, &info)
	if err != nil {
		t.Fatal(err)
	}
	fileOf := func(at token.Pos) string { return filepath.Base(set.Position(at).Filename) }
	down, up := 0, map[string]string{}
	for ident, object := range info.Uses {
		if object.Pkg() != checked {
			continue
		}
		from, to := fileOf(ident.Pos()), fileOf(object.Pos())
		if slices.Index(doors, from) > slices.Index(doors, to) {
			up[from+" uses "+to] = object.Name()
		} else if from != to {
			down++
		}
	}
	if len(up) > upMax {
		t.Errorf("files use what lies above them: %v", up)
	}
	if down < len(doors) {
		t.Errorf("only %d uses between files were found", down)
	}
}

// A room gets what it needs of another as a field with a name, and not by embedding: everybody sees whose method is called.
func TestNoRoomEmbedsATypeOfAnother(t *testing.T) {
	t.Parallel()
	engine, _ := list(t)
	structs := 0
	for _, p := range engine {
		for _, name := range p.GoFiles {
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ours := map[string]bool{}
			for _, i := range file.Imports {
				if path := strings.Trim(i.Path.Value, `"`); strings.HasPrefix(path, root) {
					ours[path[strings.LastIndex(path, "/")+1:]] = true
				}
			}
			ast.Inspect(file, func(n ast.Node) bool {
				var fields []*ast.Field
				switch n := n.(type) {
				case *ast.StructType:
					structs++
					fields = n.Fields.List
				case *ast.InterfaceType:
					fields = n.Methods.List
				}
				for _, f := range fields {
					for typed := f.Type; len(f.Names) == 0 && typed != nil; {
						switch e := typed.(type) {
						case *ast.StarExpr:
							typed = e.X
							continue
						case *ast.SelectorExpr:
							if x, is := e.X.(*ast.Ident); is && ours[x.Name] {
								t.Errorf("%s embeds %s.%s", set.Position(f.Pos()), x.Name, e.Sel.Name)
							}
						}
						typed = nil
					}
				}
				return true
			})
		}
	}
	if structs < 50 {
		t.Errorf("only %d structs were found", structs)
	}
}
