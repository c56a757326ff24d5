package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf8"
)

// notOurs are folders of the repository's root that are not kept in it, see .gitignore; .git is a file in a work tree.
var notOurs = map[string]bool{".git": true, ".build": true, "dist": true}

// walk calls visit for each file of the repository, by its path from the root.
func walk(t *testing.T, visit func(path string)) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path, err = filepath.Rel("..", path)
		switch {
		case err != nil:
			return err
		case notOurs[path] && entry.IsDir():
			return filepath.SkipDir
		case entry.Type().IsRegular() && !notOurs[path]:
			visit(filepath.ToSlash(path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// repository gives the texts of all files that are text, by their paths from the root.
func repository(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	walk(t, func(path string) {
		text, err := os.ReadFile(filepath.Join("..", path))
		if err != nil {
			t.Fatal(err)
		}
		if utf8.Valid(text) {
			texts[path] = string(text)
		}
	})
	return texts
}
