package release

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// licensed is a part of the filter with its own licences: a module, or the standard library.
type licensed struct {
	name, version string
	root          string   // its directory
	dirs          []string // the directories of its packages that are compiled in
}

// Licenses returns the licences of everything that is compiled into the package pkg for wasip1, as
// one text. root is the directory of the main module, and version is the main module's version. It
// is an error if a module has no licence file in its root.
//
// Licences in the directories between a module's root and a compiled package are included too: the
// module may have copied the package from elsewhere. So are NOTICE and PATENTS files.
func Licenses(ctx context.Context, root, pkg, version string) (string, error) {
	parts, err := compiledIn(ctx, root, pkg, version)
	if err != nil {
		return "", err
	}
	var head, body strings.Builder
	fmt.Fprintf(&head, "Licences of what is compiled into streamlatch.wasm %s:\n\n", version)
	for _, part := range parts {
		files, err := part.files()
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&head, "  %s %s\n", part.name, part.version)
		for _, file := range files {
			text, err := os.ReadFile(filepath.Join(part.root, file))
			if err != nil {
				return "", err
			}
			text = bytes.Trim(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), "\n")
			fmt.Fprintf(&body, "\n%s\n%s %s: %s\n\n%s\n", strings.Repeat("=", 80), part.name, part.version, filepath.ToSlash(file), text)
		}
	}
	return head.String() + body.String(), nil
}

// compiledIn returns the main module, then the standard library, then the other modules by name.
func compiledIn(ctx context.Context, root, pkg, version string) ([]*licensed, error) {
	goVersion, err := goCommand(ctx, root, "env", "GOVERSION", "GOROOT")
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSpace(string(goVersion)), "\n")
	if len(lines) != 2 {
		return nil, fmt.Errorf("go env: got %q, want a version and a directory", lines)
	}
	list, err := goCommand(ctx, root, "list", "-deps", "-json=Dir,Standard,Module", pkg)
	if err != nil {
		return nil, err
	}
	standard := &licensed{name: "Go, its standard library and runtime,", version: lines[0], root: strings.TrimSpace(lines[1])}
	var first *licensed
	modules := map[string]*licensed{}
	for decoder := json.NewDecoder(bytes.NewReader(list)); ; {
		var p struct {
			Dir      string
			Standard bool
			Module   *struct {
				Path, Version, Dir string
				Main               bool
			}
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		part := standard
		if !p.Standard {
			if p.Module == nil {
				return nil, fmt.Errorf("go list: the package in %s is of no module", p.Dir)
			}
			if part = modules[p.Module.Path]; part == nil {
				part = &licensed{name: p.Module.Path, version: p.Module.Version, root: p.Module.Dir}
				modules[p.Module.Path] = part
			}
			if p.Module.Main {
				first, part.version = part, version
			}
		}
		part.dirs = append(part.dirs, p.Dir)
	}
	if first == nil {
		return nil, fmt.Errorf("go list: package %s is not of the main module in %s", pkg, root)
	}
	delete(modules, first.name)
	parts := []*licensed{first, standard}
	for _, module := range modules {
		parts = append(parts, module)
	}
	slices.SortFunc(parts[2:], func(a, b *licensed) int { return strings.Compare(a.name, b.name) })
	return parts, nil
}

// goCommand runs the go command for the filter's platform.
func goCommand(ctx context.Context, root string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	output, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return nil, fmt.Errorf("go %s: %s", args[0], bytes.TrimSpace(exit.Stderr))
	}
	if err != nil {
		return nil, fmt.Errorf("go %s: %w", args[0], err)
	}
	return output, nil
}

var (
	licenseFile = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying)([-._].*)?$`)
	noticeFile  = regexp.MustCompile(`(?i)^(notice|patents|copyright)([-._].*)?$`)
)

// files returns the paths of all licences and notices, relative to l.root and the root's own first.
func (l *licensed) files() ([]string, error) {
	if l.root == "" {
		return nil, fmt.Errorf("%s %s: its source is not on this machine, so its licence is unknown: run `go mod download`, and build without vendor", l.name, l.version)
	}
	dirs := []string{"."}
	for _, dir := range l.dirs {
		below, err := filepath.Rel(l.root, dir)
		if err != nil || !filepath.IsLocal(below) {
			return nil, fmt.Errorf("%s %s: the package in %s is not inside %s", l.name, l.version, dir, l.root)
		}
		for ; below != "."; below = filepath.Dir(below) {
			dirs = append(dirs, below)
		}
	}
	slices.Sort(dirs)
	var files []string
	hasLicense := false
	for _, dir := range slices.Compact(dirs) {
		entries, err := os.ReadDir(filepath.Join(l.root, dir))
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			name := entry.Name()
			license := licenseFile.MatchString(name)
			if !license && !noticeFile.MatchString(name) || filepath.Ext(name) == ".go" || !isFile(entry, filepath.Join(l.root, dir, name)) {
				continue
			}
			files = append(files, filepath.Join(dir, name))
			hasLicense = hasLicense || license && dir == "."
		}
	}
	if !hasLicense {
		return nil, fmt.Errorf("%s %s is compiled into the filter and has no licence file in %s: want LICENSE, LICENCE or COPYING", l.name, l.version, l.root)
	}
	return files, nil
}

// isFile reports whether path is a regular file, or a link to one.
func isFile(entry fs.DirEntry, path string) bool {
	if entry.Type().IsRegular() {
		return true
	}
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
