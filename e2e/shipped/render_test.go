package shipped

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/envoy"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

// Envoy and the filter use the rendered settings: a rule has metrics under its name.
func TestRenderedConfigurationRuns(t *testing.T) {
	config, err := envoy.Render(envoy.Settings{Backend: 9, Wasm: realFilter(t), Filter: `{"rules":[{"name":"other","client":[{"header":"x"}]}]}`})
	if err != nil {
		t.Fatal(err)
	}
	p, err := proxy.Start(t.Context(), launcher(t), proxy.Options{Config: config, Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	listeners, err := p.Admin().Listeners(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"edge", "internal"} {
		if address := listeners[name]; !strings.HasPrefix(address, "127.0.0.1:") || strings.HasSuffix(address, ":0") {
			t.Errorf("listener %s: got the address %q, want a port of 127.0.0.1", name, address)
		}
	}
	stats, err := p.Admin().Stats(t.Context(), `^wasmcustom\.streamlatch\.other\.`)
	if err != nil {
		t.Fatal(err)
	}
	if len(stats.Values) == 0 {
		t.Error("got no metric of the rule other, want some")
	}
}

func TestStartErrorNamesTheFaultyField(t *testing.T) {
	config, err := envoy.Render(envoy.Settings{Backend: 9, Wasm: realFilter(t), Filter: `{"rules":[],"mood":"good"}`})
	if err != nil {
		t.Fatal(err)
	}
	_, err = proxy.Start(t.Context(), launcher(t), proxy.Options{Config: config, Concurrency: 1})
	if err == nil || !strings.Contains(err.Error(), "mood") {
		t.Errorf("got the error %v, want one that names the field mood", err)
	}
}

func launcher(t *testing.T) proxy.Launcher {
	t.Helper()
	l, err := rig.Launcher()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// realFilter builds the filter from the present sources and returns its path.
func realFilter(t *testing.T) string {
	t.Helper()
	wasm, err := rig.Filter()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "filter.wasm")
	if err := os.WriteFile(path, wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
