package main

import (
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const (
	here = "github.com/streamlatch/streamlatch/"
	sdk  = "github.com/proxy-wasm/proxy-wasm-go-sdk"
	wasm = "github.com/tetratelabs/wazero"
)

// pure are the packages of the filter that need no host. Plain Go tests can run them.
var pure = []string{"admin", "config", "deadline", "fleet", "fleet/etcd", "fleet/etcdtest", "fleet/model", "identity", "match", "policy", "registry", "reply", "session"}

// The filter's logic must be testable without a host, and the host must not know the filter. Then
// neither can hide a fault of the other.
func TestImportRules(t *testing.T) {
	for _, pkg := range pure {
		for _, dep := range list(t, nil, "-deps", here+"filter/"+pkg) {
			if dep == here+"filter/hostcall" || strings.HasPrefix(dep, sdk) || strings.HasPrefix(dep, wasm) {
				t.Errorf("filter/%s depends on %s, want no host and no SDK: it is pure logic", pkg, dep)
			}
		}
	}
	users := map[string]bool{}
	for _, line := range list(t, wasip1, "-f", `{{.ImportPath}} {{join .Imports " "}}`, here+"filter/...") {
		pkg, imports, _ := strings.Cut(line, " ")
		for dep := range strings.FieldsSeq(imports) {
			if dep == here+"filter/hostcall" || strings.HasPrefix(dep, sdk) {
				users[pkg] = true
			}
		}
	}
	if want := map[string]bool{here + "filter": true, here + "filter/plugin": true}; !maps.Equal(users, want) {
		t.Errorf("%v import the SDK or hostcall, want filter/plugin, and main, which registers it", slices.Sorted(maps.Keys(users)))
	}
	for _, dep := range list(t, wasip1, "-deps", here+"filter") {
		network := dep == "net" || strings.HasPrefix(dep, "net/") && !slices.Contains(parsers, dep)
		if network || strings.HasPrefix(dep, wasm) || strings.HasPrefix(dep, here) && !strings.HasPrefix(dep, here+"filter") {
			t.Errorf("filter depends on %s, want no network, no wazero and nothing from outside of filter/", dep)
		}
	}
	for _, dep := range list(t, nil, "-deps", here+"host/...") {
		if strings.HasPrefix(dep, here+"filter") || strings.HasPrefix(dep, sdk) {
			t.Errorf("host depends on %s, want neither the filter nor the SDK: it must run any filter", dep)
		}
	}
}

// parsers are the packages below net that only parse text. They open no connection.
var parsers = []string{"net/netip", "net/url"}

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
		t.Fatalf("go list %s: no package", strings.Join(args, " "))
	}
	return lines
}
