package config

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// formats finds the calls that format, and how many arguments each has for its format.
func formats(t *testing.T) map[string]int {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || call.Ellipsis.IsValid() {
				return true
			}
			switch f := call.Fun.(type) {
			case *ast.Ident:
				if f.Name != "sprintf" && f.Name != "invalid" {
					return true
				}
			case *ast.SelectorExpr:
				if f.Sel.Name != "fault" {
					return true
				}
			default:
				return true
			}
			format, ok := call.Args[0].(*ast.BasicLit)
			if !ok {
				t.Errorf("%s: the format is no literal", fset.Position(call.Pos()))
				return true
			}
			text, err := strconv.Unquote(format.Value)
			if err != nil {
				t.Fatal(err)
			}
			args := len(call.Args) - 1
			if other, again := found[text]; again && other != args {
				t.Errorf("%s: %q has %d arguments here and %d elsewhere", fset.Position(call.Pos()), text, args, other)
			}
			found[text] = args
			return true
		})
	}
	return found
}

// What sprintf makes of every format of this package is what fmt makes of it.
func TestFormats(t *testing.T) {
	all := formats(t)
	if len(all) < 20 {
		t.Fatalf("only %d formats found: %v", len(all), all)
	}
	samples := map[string][]any{
		"s": {"", "a%d é", `a"b`},
		"q": {"", "a%q é", "a\"\n\xff\u200b"},
		"d": {0, 7, -65},
		"v": {"%v", -1, errors.New("no %s"), node{kind: object}, node{kind: text, content: "a\nb"}, node{kind: number, content: "1e3"}},
	}
	verb := regexp.MustCompile(`%(.?)`)
	for format, want := range all {
		verbs := verb.FindAllStringSubmatch(format, -1)
		if len(verbs) != want {
			t.Errorf("%q has %d verbs, and %d arguments", format, len(verbs), want)
			continue
		}
		for i := range 12 {
			args := make([]any, 0, len(verbs))
			for _, v := range verbs {
				some := samples[v[1]]
				if len(some) == 0 {
					t.Fatalf("%q has %s, which sprintf does not know", format, v[0])
				}
				args = append(args, some[(i+len(args))%len(some)])
			}
			if got, want := sprintf(format, args...), fmt.Sprintf(format, args...); got != want {
				t.Errorf("%q of %q\n got %s\nwant %s", format, args, got, want)
			}
		}
	}
}
