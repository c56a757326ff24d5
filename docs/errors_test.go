package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// An error that wraps a cause says what was being done to what, in the gerund: "reading the list of tables: %w". One that makes
// a sentinel more precise begins with that.
func TestErrorsSayWhatWasBeingDone(t *testing.T) {
	t.Parallel()
	wrapping := 0
	walk(t, func(path string) {
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, ".gen.go") {
			return
		}
		source, err := os.ReadFile(filepath.Join("..", path))
		if err != nil {
			t.Fatal(err)
		}
		wrong, found := wrongErrors(t, path, source)
		wrapping += found
		for _, w := range wrong {
			t.Errorf("%s: it has to begin with what was being done to what, as in %q", w, "reading the list of tables: %w")
		}
	})
	if wrapping < 400 {
		t.Errorf("only %d errors with a cause were found", wrapping)
	}
}

// The test of the test: what it lets pass, and what it does not.
func TestWrongErrorsAreFound(t *testing.T) {
	t.Parallel()
	for call, right := range map[string]bool{
		`fmt.Errorf("reading table %s: %w", table, err)`:               true,
		`fmt.Errorf("running initdb in %s: %w\n%s", dir, err, output)`: true,
		`fmt.Errorf("%w: %s", errDeadlock, said)`:                      true,
		`fmt.Errorf("%s: %w", doing, err)`:                             true,
		`fmt.Errorf("%s of migration %s: %w", l.doing, id, err)`:       true,
		`fmt.Errorf("the source sent %d rows: %v", n, rows)`:           true,
		`fmt.Errorf("read table %s: %w", table, err)`:                  false,
		`fmt.Errorf("could not read table %s: %w", table, err)`:        false,
		`fmt.Errorf("failed reading table %s: %w", table, err)`:        false,
		`fmt.Errorf("Reading table %s: %w", table, err)`:               false,
		`fmt.Errorf("table %s: %w", table, err)`:                       false,
		`fmt.Errorf("%s: %w", table, err)`:                             false,
		`fmt.Errorf("connecting: %w", err)`:                            false,
		`fmt.Errorf("nothing to read: %w", err)`:                       false,
		`fmt.Errorf("reading " + "table %s: %w", table, err)`:          false,
		`fmt.Errorf(text, err)`:                                        false,
		`fmt.Errorf("table %s: %v", table, err)`:                       false,
		`fmt.Errorf("table %s: %v", table, e.readErr)`:                 false,
	} {
		wrong, _ := wrongErrors(t, "x.go", []byte("package x\n\nvar _ = "+call))
		if (len(wrong) == 0) != right {
			t.Errorf("%s: %v", call, wrong)
		}
	}
}

var (
	gerund   = regexp.MustCompile(`^[a-z]+ing [^:]`)
	noGerund = regexp.MustCompile(`^(?:any|every|no|some)?thing |^(?:during|string) `)
)

// wrongErrors finds the calls of fmt.Errorf in a file that wrap a cause and do not say what was being done, by their places. It
// also gives how many wrap one.
func wrongErrors(t *testing.T, path string, source []byte) (wrong []string, wrapping int) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(node ast.Node) bool {
		call, is := node.(*ast.CallExpr)
		if !is || !isErrorf(call.Fun) || len(call.Args) < 2 {
			return true
		}
		format := ""
		if literal, is := call.Args[0].(*ast.BasicLit); is {
			if format, err = strconv.Unquote(literal.Value); err != nil {
				t.Fatal(err)
			}
			wraps := strings.Contains(format, "%w") || strings.HasSuffix(format, ": %v") && isError(call.Args[len(call.Args)-1])
			if !wraps {
				return true
			}
		}
		wrapping++
		switch {
		case gerund.MatchString(format) && !noGerund.MatchString(format):
		case strings.HasPrefix(format, "%w: "):
		case strings.HasPrefix(format, "%s") && lastName(call.Args[1]) == "doing":
		default:
			wrong = append(wrong, files.Position(call.Pos()).String()+": "+string(source[call.Pos()-1:call.End()-1]))
		}
		return true
	})
	return wrong, wrapping
}

func isErrorf(function ast.Expr) bool {
	selector, is := function.(*ast.SelectorExpr)
	return is && selector.Sel.Name == "Errorf" && lastName(selector.X) == "fmt"
}

// isError guesses from its name that an expression is an error.
func isError(e ast.Expr) bool {
	name := strings.ToLower(lastName(e))
	return strings.HasSuffix(name, "err") || strings.HasSuffix(name, "error")
}

// lastName gives the name of a variable or field.
func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}
