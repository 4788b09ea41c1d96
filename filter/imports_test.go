package main

import (
	"os/exec"
	"strings"
	"testing"
)

const (
	here  = "github.com/streamlatch/streamlatch/"
	sdk   = "github.com/proxy-wasm/proxy-wasm-go-sdk"
	wasmu = "github.com/tetratelabs/wazero"
)

// The filter's logic must be testable without a host and the host must not know the filter, so that each can be
// trusted to tell the truth about the other.
func TestImportRules(t *testing.T) {
	for _, pkg := range []string{"config", "identity", "match", "policy", "registry"} {
		for _, dep := range list(t, "-deps", here+"filter/"+pkg) {
			if strings.HasPrefix(dep, sdk) || strings.HasPrefix(dep, wasmu) {
				t.Errorf("filter/%s depends on %s: it is pure logic", pkg, dep)
			}
		}
	}
	for _, line := range list(t, "-f", `{{.ImportPath}}: {{join .Imports " "}}`, here+"filter/...") {
		pkg, imports, _ := strings.Cut(line, ": ")
		if strings.Contains(imports, sdk) && pkg != here+"filter/plugin" {
			t.Errorf("%s imports the SDK: only filter/plugin does", pkg)
		}
	}
	for _, dep := range list(t, "-deps", here+"filter") {
		if strings.HasPrefix(dep, wasmu) || strings.HasPrefix(dep, here) && !strings.HasPrefix(dep, here+"filter") {
			t.Errorf("filter depends on %s", dep)
		}
	}
	for _, dep := range list(t, "-deps", here+"host/...") {
		if strings.HasPrefix(dep, here+"filter") || strings.HasPrefix(dep, sdk) {
			t.Errorf("host depends on %s: it must run any filter", dep)
		}
	}
}

func list(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) == 0 || lines[0] == "" {
		t.Fatalf("go list %s: lists nothing", strings.Join(args, " "))
	}
	return lines
}
