// Command columns looks for lines that are too long to read with ease: comments in Go files, and
// prose in Markdown files, below the current directory. It prints a line for each, and exits with 1
// if there is one.
//
// Code may be of any length. So may a line that has no place to break it, such as a long address.
// Not looked at: generated files, testdata, the folder build, hidden folders except .github; in
// Markdown code blocks, tables and headings.
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
)

// The most columns of a line, with a tab stop at every fourth.
const (
	mostGo       = 100
	mostMarkdown = 110
	tabStop      = 4
)

func main() {
	tooLong, err := search(os.DirFS("."))
	for _, line := range tooLong {
		fmt.Println(line)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "columns:", err)
	}
	if err != nil || len(tooLong) > 0 {
		os.Exit(1)
	}
}

// search returns a sentence about each line that is too long, in the order of the files.
func search(files fs.FS) (tooLong []string, err error) {
	err = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			hidden := strings.HasPrefix(d.Name(), ".") && name != "." && name != ".github"
			if hidden || d.Name() == "testdata" || name == "build" {
				return fs.SkipDir
			}
			return nil
		}
		look, kind, most := prose, "prose", mostMarkdown
		switch path.Ext(name) {
		case ".go":
			look, kind, most = comments, "comments", mostGo
		case ".md":
		default:
			return nil
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		lines, err := look(name, string(text))
		if err != nil {
			return err
		}
		for _, l := range lines {
			if columns := width(l.text); columns > most && breakable(l.words) {
				tooLong = append(tooLong,
					fmt.Sprintf("%s:%d: %d columns, want at most %d in %s", name, l.number, columns, most, kind))
			}
		}
		return nil
	})
	return tooLong, err
}

// line is a line of a comment or of prose.
type line struct {
	number int
	text   string // the whole line
	words  string // without what it begins with: //, a mark of a list or of a quotation
}

var directive = regexp.MustCompile(`^//[a-z0-9]+:[a-z0-9]`)

// comments returns the lines of a Go file that have a comment and nothing else.
func comments(name, text string) ([]line, error) {
	positions := token.NewFileSet()
	file, err := parser.ParseFile(positions, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil || ast.IsGenerated(file) {
		return nil, err
	}
	all := strings.Split(text, "\n")
	var found []line
	for _, group := range file.Comments {
		for _, c := range group.List {
			first := positions.PositionFor(c.Pos(), false)
			if beside := strings.TrimSpace(all[first.Line-1][:first.Column-1]); beside != "" || directive.MatchString(c.Text) {
				continue
			}
			for i := range strings.Count(c.Text, "\n") + 1 {
				text := all[first.Line-1+i]
				found = append(found, line{first.Line + i, text, strings.TrimLeft(text, "\t /*")})
			}
		}
	}
	return found, nil
}

var mark = regexp.MustCompile(`^\s*(>\s*)*([-*+]|\d+\.)?\s+`)

// prose returns the lines of a Markdown page that can be broken without a change of what they show.
func prose(_, text string) (found []line, _ error) {
	code := false
	for i, text := range strings.Split(text, "\n") {
		switch trimmed := strings.TrimSpace(text); {
		case strings.HasPrefix(trimmed, "```"):
			code = !code
		case code, strings.HasPrefix(trimmed, "|"), strings.HasPrefix(trimmed, "#"):
		default:
			found = append(found, line{i + 1, text, mark.ReplaceAllString(text, "")})
		}
	}
	return found, nil
}

// link is a link or a picture of Markdown. It stays on one line, so that a search finds it.
var link = regexp.MustCompile(`!?\[[^\]]*\]\([^)]*\)`)

// breakable reports whether there is a place to break a line of these words.
func breakable(words string) bool {
	return strings.Contains(strings.TrimSpace(link.ReplaceAllString(words, "link")), " ")
}

func width(text string) (columns int) {
	for _, r := range text {
		if columns++; r == '\t' {
			columns += (tabStop - columns%tabStop) % tabStop
		}
	}
	return columns
}
