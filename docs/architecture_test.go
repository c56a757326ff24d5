package docs

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tree gives the descriptions in the tree of architecture.md by their paths from the root.
func tree(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, house, _ := strings.Cut(string(text), "\n## The house\n\n```\n")
	block, _, ended := strings.Cut(house, "\n```\n")
	if !ended {
		t.Fatal("architecture.md has no tree below The house")
	}
	shown := map[string]string{}
	var above []string // the folders that the line is in
	for _, line := range strings.Split(block, "\n") {
		name, description, _ := strings.Cut(strings.TrimLeft(line, " "), " ")
		depth := (len(line) - len(strings.TrimLeft(line, " "))) / 2
		if depth > len(above) {
			t.Fatalf("the tree has nothing above: %s", line)
		}
		above = append(above[:depth], strings.TrimSuffix(name, "/"))
		at := path.Join(above...)
		if _, twice := shown[at]; twice {
			t.Errorf("%s is twice in the tree", at)
		}
		shown[at] = strings.TrimSpace(description)
		if info, err := os.Stat(filepath.Join("..", at)); err != nil {
			t.Errorf("%s is in the tree and nowhere else", at)
		} else if info.IsDir() != strings.HasSuffix(name, "/") {
			t.Errorf("%s: only folders end with a slash in the tree", at)
		}
	}
	return shown
}

// TestTheTreeIsWhole holds the tree of architecture.md against the folders. What is in it is there. In it are all folders
// of the root and all Go packages, and where one folder within another is shown, all are.
func TestTheTreeIsWhole(t *testing.T) {
	shown := tree(t)
	opened := map[string]bool{".": true} // folders within which the tree shows some
	for at, description := range shown {
		if description == "" {
			t.Errorf("%s has no description in the tree", at)
		}
		if info, err := os.Stat(filepath.Join("..", at)); err == nil && info.IsDir() {
			opened[path.Dir(at)] = true
		}
	}
	missing := map[string]bool{}
	walk(t, func(file string) {
		if slices.Contains(strings.Split(file, "/"), "testdata") {
			return
		}
		isPackage := path.Ext(file) == ".go"
		for folder := path.Dir(file); folder != "."; folder = path.Dir(folder) {
			if shown[folder] == "" && (isPackage || opened[path.Dir(folder)]) {
				missing[folder] = true
			}
			isPackage = false // those above need not be one
		}
	})
	for folder := range missing {
		t.Errorf("%s/ is not in the tree of architecture.md", folder)
	}
}
