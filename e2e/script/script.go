// Package script makes programs for tests: shell scripts in place of Envoy, python3, docker or
// podman, and the few tools that these scripts call. The machine needs nothing but a shell.
package script

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// Main is the TestMain of a package whose scripts call tools. The tools are links to the test
// binary: called by the name of a tool, the binary acts as that tool, and otherwise it runs the
// tests. Main returns the exit status.
func Main(m *testing.M) int {
	tool := tools[filepath.Base(os.Args[0])]
	if tool == nil {
		return m.Run()
	}
	if err := tool(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

var tools = map[string]func(argument string) error{
	"sleep": func(seconds string) error {
		d, err := strconv.ParseFloat(seconds, 64)
		time.Sleep(time.Duration(d * float64(time.Second)))
		return err
	},
	"list": func(dir string) error { // prints all files below dir
		return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				_, err = fmt.Println(path)
			}
			return err
		})
	},
}

// Tools makes the tools available in a directory.
func Tools(t testing.TB, dir string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name := range tools {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// Write writes a script and returns its path.
func Write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// Written returns an error as long as the file does not exist or is empty.
func Written(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.Size() == 0 {
		err = fmt.Errorf("%s is empty", path)
	}
	return err
}
