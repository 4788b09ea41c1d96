package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const (
	here  = "github.com/streamlatch/streamlatch/"
	abi   = here + "filter/proxywasm"
	sdk   = "github.com/proxy-wasm/proxy-wasm-go-sdk"
	wasmu = "github.com/tetratelabs/wazero"
)

// The filter's logic must be testable without a host and the host must not know the filter, so that each can be
// trusted to tell the truth about the other.
func TestImportRules(t *testing.T) {
	for _, pkg := range []string{"admin", "config", "deadline", "identity", "match", "policy", "registry", "reply"} {
		for _, dep := range list(t, nil, "-deps", here+"filter/"+pkg) {
			if dep == abi || strings.HasPrefix(dep, sdk) || strings.HasPrefix(dep, wasmu) {
				t.Errorf("filter/%s depends on %s: it is pure logic", pkg, dep)
			}
		}
	}
	users := 0
	for _, line := range list(t, wasip1, "-f", `{{.ImportPath}} {{join .Imports " "}}`, here+"filter/...") {
		pkg, imports, _ := strings.Cut(line, " ")
		if !slices.Contains(strings.Fields(imports), abi) {
			continue
		}
		if users++; pkg != here+"filter/plugin" && pkg != here+"filter" {
			t.Errorf("%s imports the ABI: only filter/plugin does, and main, which registers it", pkg)
		}
	}
	if users == 0 {
		t.Errorf("nothing imports %s", abi)
	}
	for _, dep := range list(t, wasip1, "-deps", here+"filter") {
		if strings.HasPrefix(dep, sdk) {
			t.Errorf("filter depends on %s: its binding of the ABI is its own", dep)
		}
		if strings.HasPrefix(dep, wasmu) || strings.HasPrefix(dep, here) && !strings.HasPrefix(dep, here+"filter") {
			t.Errorf("filter depends on %s", dep)
		}
	}
	for _, dep := range list(t, nil, "-deps", here+"host/...") {
		if strings.HasPrefix(dep, here+"filter") || strings.HasPrefix(dep, sdk) {
			t.Errorf("host depends on %s: it must run any filter", dep)
		}
	}
}

// wasip1 is what the filter is built for.
var wasip1 = []string{"GOOS=wasip1", "GOARCH=wasm"}

func list(t *testing.T, env []string, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Env = append(cmd.Environ(), env...)
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
