// Package compose tests envoy/compose.yaml and envoy/fleet/compose.yaml: what they say, read with
// the library of docker compose, and, with the tag container, what they start.
package compose

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

// The file is used from the root of the repository.
func TestMain(m *testing.M) {
	if err := os.Chdir("../.."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const file = "envoy/compose.yaml"

func load(t *testing.T, environment map[string]string) *types.Project {
	t.Helper()
	return loadFile(t, file, environment)
}

// loadFile reads a file as docker compose does. Unknown fields and wrong types are errors.
func loadFile(t *testing.T, file string, environment map[string]string) *types.Project {
	t.Helper()
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		t.Fatal(err)
	}
	project, err := loader.LoadWithContext(context.Background(), types.ConfigDetails{
		WorkingDir:  dir,
		ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(dir, filepath.Base(file))}},
		Environment: environment,
	}, func(o *loader.Options) { o.SetProjectName("envoy", false) })
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func TestTheParts(t *testing.T) {
	p := load(t, nil)
	if p.Name != "streamlatch" {
		t.Errorf("got the project name %q, want streamlatch, which no other project has", p.Name)
	}
	if got, want := slices.Sorted(maps.Keys(p.Services)), []string{"demo", "envoy", "grafana", "prometheus"}; !slices.Equal(got, want) {
		t.Errorf("got the services %q, want %q", got, want)
	}
	for name, s := range p.Services {
		if b := s.Build; b != nil {
			if b.Target != name {
				t.Errorf("%s: got the build target %q, want its own name", name, b.Target)
			}
			if _, err := os.Stat(filepath.Join(b.Context, b.Dockerfile)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, v := range s.Volumes {
			if _, err := os.Stat(v.Source); v.Type != types.VolumeTypeBind || !v.ReadOnly || err != nil {
				t.Errorf("%s: got the mount %s of %s, read only %v (%v); want a file of the repository, read only", name, v.Type, v.Source, v.ReadOnly, err)
			}
		}
	}
}

// Only this machine can reach the services. Envoy's admin interface is not published at all.
func TestReachedFromThisMachineOnly(t *testing.T) {
	var published []string
	for name, s := range load(t, nil).Services {
		if want := "service:envoy"; name != "envoy" && s.NetworkMode != want {
			t.Errorf("%s: got the network %q, want %q", name, s.NetworkMode, want)
		}
		if name == "envoy" && (s.NetworkMode != "" || len(s.Networks) != 1) {
			t.Errorf("envoy: got the network %q and %v, want one network", s.NetworkMode, s.Networks)
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: got port %d on %q, want it on 127.0.0.1", name, port.Target, port.HostIP)
			}
			published = append(published, fmt.Sprintf("%s:%d", port.Published, port.Target))
		}
	}
	if want := []string{"10000:10000", "10001:10001", "9090:9090", "3000:3000"}; !slices.Equal(published, want) {
		t.Errorf("got the published ports %q, want %q", published, want)
	}
}

func TestPortsCanBeChanged(t *testing.T) {
	p := load(t, map[string]string{"EDGE_PORT": "1", "INTERNAL_PORT": "2", "PROMETHEUS_PORT": "3", "GRAFANA_PORT": "4"})
	var published []string
	for _, port := range p.Services["envoy"].Ports {
		published = append(published, fmt.Sprintf("%s:%d", port.Published, port.Target))
	}
	if want := []string{"1:10000", "2:10001", "3:9090", "4:3000"}; !slices.Equal(published, want) {
		t.Errorf("got the published ports %q, want %q", published, want)
	}
}

// Nothing stays after `down`: there is no named volume, and no volume for the one that Prometheus's
// image declares.
func TestNothingIsKept(t *testing.T) {
	p := load(t, nil)
	if len(p.Volumes) > 0 {
		t.Errorf("got the volumes %v, want none", p.Volumes)
	}
	if tmpfs := p.Services["prometheus"].Tmpfs; !slices.Contains(tmpfs, "/prometheus") {
		t.Errorf("prometheus: got %q in memory, want /prometheus too", tmpfs)
	}
}

func TestImages(t *testing.T) {
	p := load(t, nil)
	images := map[string]string{
		"PROMETHEUS_IMAGE": p.Services["prometheus"].Image,
		"GRAFANA_IMAGE":    p.Services["grafana"].Image,
	}
	for _, service := range []string{"envoy", "demo"} {
		for _, variable := range []string{"ENVOY_IMAGE", "GO_IMAGE"} {
			if image := p.Services[service].Build.Args[variable]; image != nil {
				images[variable] = *image
			}
		}
	}
	pinned := regexp.MustCompile(`^docker\.io/[a-z]+/[a-z]+:v?\d+\.\d+(\.\d+)?$`)
	for variable, image := range images {
		if !pinned.MatchString(image) {
			t.Errorf("%s: got %q, want the whole name of an image with its version", variable, image)
		}
	}
	if got, want := images["ENVOY_IMAGE"], proxy.OfficialImage; got != want {
		t.Errorf("ENVOY_IMAGE: got %q, want that of the tests: %q", got, want)
	}
	if got, want := images["GO_IMAGE"], "docker.io/library/golang:"+goVersion(t); got != want {
		t.Errorf("GO_IMAGE: got %q, want the version in go.mod: %q", got, want)
	}

	recipe := read(t, "envoy/compose/Containerfile")
	for _, variable := range []string{"ENVOY_IMAGE", "GO_IMAGE"} {
		if line := "\nARG " + variable + "=" + images[variable] + "\n"; !strings.Contains(recipe, line) {
			t.Errorf("Containerfile: want %q, the default of compose.yaml", line)
		}
	}

	other := map[string]string{"PROMETHEUS_IMAGE": "a", "GRAFANA_IMAGE": "b", "ENVOY_IMAGE": "c", "GO_IMAGE": "d"}
	p = load(t, other)
	args := p.Services["envoy"].Build.Args
	if got := []string{p.Services["prometheus"].Image, p.Services["grafana"].Image, *args["ENVOY_IMAGE"], *args["GO_IMAGE"]}; !slices.Equal(got, []string{"a", "b", "c", "d"}) {
		t.Errorf("with the variables %v: got the images %q, want these", other, got)
	}
}

// goVersion returns the language version of the repository, for example 1.26.
func goVersion(t *testing.T) string {
	t.Helper()
	match := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))
	if match == nil {
		t.Fatal("go.mod: want a version of Go")
	}
	return match[1]
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
