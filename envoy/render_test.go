package envoy

import (
	"strings"
	"testing"
)

func TestRenderOfTheShippedValuesIsTheShippedFile(t *testing.T) {
	got, err := Render(Settings{Listener: 10000, Internal: 10001, Admin: 9901, Backend: 8080})
	if err != nil {
		t.Fatal(err)
	}
	if got != Config {
		t.Error("rendering the shipped values changes the shipped file")
	}
}

func TestRender(t *testing.T) {
	// Each setting is another one's shipped value, where it can be.
	got, err := Render(Settings{Listener: 8080, Internal: 10000, Admin: 10001, Backend: 9901, Wasm: `/a "b"/f.wasm`, Filter: "{\"rules\":\n[]}"})
	if err != nil {
		t.Fatal(err)
	}
	want := Config
	for _, change := range [][2]string{
		{"port_value: 10000}", "port_value: LISTENER}"},
		{"port_value: 10001}", "port_value: INTERNAL}"},
		{"port_value: 9901}", "port_value: ADMIN}"},
		{"port_value: 8080}", "port_value: BACKEND}"},
		{"LISTENER", "8080"}, {"INTERNAL", "10000"}, {"ADMIN", "10001"}, {"BACKEND", "9901"},
		{"filename: build/streamlatch.wasm", `filename: "/a \"b\"/f.wasm"`},
	} {
		want = strings.Replace(want, change[0], change[1], 1)
	}
	before, after, _ := strings.Cut(want, "value: |\n")
	after = after[strings.Index(after, "          - name: envoy.filters.http.router"):]
	want = before + `value: "{\"rules\":\n[]}"` + "\n" + after
	if got != want {
		t.Errorf("got:\n%s", got)
	}
}

func TestRenderFleet(t *testing.T) {
	shipped := Settings{Listener: 10000, Internal: 10001, Admin: 9901, Backend: 8080, Etcd: 2379}
	if got, err := RenderFleet(shipped); err != nil || got != FleetConfig {
		t.Errorf("rendering the shipped values changes the shipped file (%v)", err)
	}
	got, err := RenderFleet(Settings{Backend: 2379, Etcd: 8080})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(got, "port_value: 8080}") != 1 || strings.Index(got, "port_value: 2379}") > strings.Index(got, "port_value: 8080}") {
		t.Errorf("want the backend at port 2379 and etcd at 8080, got:\n%s", got)
	}
	if _, err := RenderFleet(Settings{Backend: 1}); err == nil || !strings.Contains(err.Error(), "fleet/envoy.yaml: etcd port 0, want 1 to 65535") {
		t.Errorf("without a port of etcd: got %v", err)
	}
}

func TestRenderRejectsPortsOutOfRange(t *testing.T) {
	for name, test := range map[string]struct {
		settings Settings
		want     string
	}{
		"no backend":    {Settings{}, "backend port 0, want 1 to 65535"},
		"negative port": {Settings{Listener: -1, Backend: 1}, "listener port -1, want 0 to 65535"},
		"huge port":     {Settings{Internal: 65536, Backend: 1}, "internal port 65536, want 0 to 65535"},
		"an etcd":       {Settings{Backend: 1, Etcd: 1}, "etcd port 1, want 0: the file has no etcd"},
		"huge admin":    {Settings{Admin: 65536, Backend: 1}, "admin port 65536, want 0 to 65535"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Render(test.settings)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want one with %q", err, test.want)
			}
		})
	}
}

// An edit of envoy.yaml must not go unnoticed: Render must find each value exactly once.
func TestRenderNoticesAnEditedFile(t *testing.T) {
	all := Settings{Listener: 1, Internal: 4, Admin: 2, Backend: 3, Wasm: "x.wasm", Filter: "{}"}
	for _, value := range []string{
		"port_value: 10000}", "port_value: 10001}", "port_value: 9901}", "port_value: 8080}", "filename: build/streamlatch.wasm", "value: |",
	} {
		for times, edited := range map[string]string{
			"0 times": strings.Replace(Config, value, "gone", 1),
			"2 times": Config + "\n# " + value + "\n",
		} {
			t.Run(value+" "+times, func(t *testing.T) {
				_, err := render(edited, all)
				if err == nil || !strings.Contains(err.Error(), times) {
					t.Errorf("got %v, want one with %q", err, times)
				}
			})
		}
	}
}

func TestRenderECDSOfTheShippedValuesIsTheShippedFiles(t *testing.T) {
	config, filter, err := RenderECDS(Settings{Listener: 10000, Admin: 9901, Backend: 8080}, "")
	if err != nil {
		t.Fatal(err)
	}
	if config != ECDSConfig || filter != ECDSFilter {
		t.Error("rendering the shipped values changes the shipped files")
	}
}

func TestRenderECDS(t *testing.T) {
	settings := Settings{Listener: 8080, Admin: 10000, Backend: 9901, Wasm: "/a b/f.wasm", Filter: "{}"}
	config, filter, err := RenderECDS(settings, "/c d/e.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"port_value: 8080}", "port_value: 10000}", "port_value: 9901}", `path: "/c d/e.yaml"`, `watched_directory: {path: "/c d"}`} {
		if strings.Count(config, want) != 1 {
			t.Errorf("found %q in envoy-ecds.yaml %d times, want once", want, strings.Count(config, want))
		}
	}
	want, _, _ := strings.Cut(ECDSFilter, "value: |\n")
	want = strings.Replace(want, "filename: build/streamlatch.wasm", `filename: "/a b/f.wasm"`, 1) + `value: "{}"` + "\n"
	if filter != want {
		t.Errorf("got:\n%s", filter)
	}
	settings.Internal = 1
	if _, _, err := RenderECDS(settings, ""); err == nil || !strings.Contains(err.Error(), "internal port 1, want 0") {
		t.Errorf("got %v, want \"internal port 1, want 0\"", err)
	}
}

func TestRenderECDSNoticesEditedFiles(t *testing.T) {
	all := Settings{Listener: 1, Admin: 2, Backend: 3, Wasm: "x.wasm", Filter: "{}"}
	for _, value := range []string{
		"port_value: 10000}", "port_value: 9901}", "port_value: 8080}", "path: envoy/ecds/streamlatch.yaml", "{path: envoy/ecds}",
		"filename: build/streamlatch.wasm", "value: |",
	} {
		config, filter := strings.Replace(ECDSConfig, value, "gone", 1), strings.Replace(ECDSFilter, value, "gone", 1)
		if _, _, err := renderECDS(config, filter, all, "y.yaml"); err == nil || !strings.Contains(err.Error(), "0 times") {
			t.Errorf("without %q: got %v, want \"0 times\"", value, err)
		}
	}
}
