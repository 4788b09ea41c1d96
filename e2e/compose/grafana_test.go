package compose

import (
	"encoding/json"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"
)

// The fields of Grafana's provisioning that a Prometheus and a dashboard from files need. Grafana
// ignores unknown fields, so the test must not.
type (
	datasources struct {
		Version int `yaml:"apiVersion"`
		Sources []struct {
			Name, Type, Access, URL, UID string
			Default                      bool `yaml:"isDefault"`
			Editable                     bool
			JSON                         map[string]any `yaml:"jsonData"`
		} `yaml:"datasources"`
	}
	dashboards struct {
		Version   int `yaml:"apiVersion"`
		Providers []struct {
			Name, Type, Folder string
			KeepDeleted        bool `yaml:"disableDeletion"`
			Editable           bool `yaml:"allowUiUpdates"`
			Seconds            int  `yaml:"updateIntervalSeconds"`
			Options            struct {
				Path    string
				Folders bool `yaml:"foldersFromFilesStructure"`
			}
		}
	}
)

// provisioning decodes a file in the container's provisioning directory.
func provisioning(t *testing.T, grafana types.ServiceConfig, name string, into any) {
	t.Helper()
	file := inRepository(t, grafana, path.Join("/etc/grafana/provisioning", name))
	decoder := yaml.NewDecoder(strings.NewReader(read(t, file)))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// inRepository returns the file of the repository that the container sees under this name.
func inRepository(t *testing.T, s types.ServiceConfig, name string) string {
	t.Helper()
	for _, v := range s.Volumes {
		if name == v.Target {
			return v.Source
		}
		if rest, ok := strings.CutPrefix(name, v.Target+"/"); ok {
			return filepath.Join(v.Source, rest)
		}
	}
	t.Fatalf("%s: want a mount with %s", s.Name, name)
	return ""
}

// Grafana itself does not run in the tests. So this test checks that the files in its container fit
// together.
func TestGrafanaFindsPrometheusAndTheDashboard(t *testing.T) {
	grafana := load(t, nil).Services["grafana"]
	var sources datasources
	provisioning(t, grafana, "datasources/prometheus.yaml", &sources)
	if len(sources.Sources) != 1 || sources.Version != 1 {
		t.Fatalf("data sources: got %+v, want one, of version 1", sources)
	}
	source := sources.Sources[0]
	if source.Type != "prometheus" || source.Access != "proxy" || source.URL != "http://127.0.0.1:9090" || !source.Default || source.UID == "" {
		t.Errorf("data source: got %+v, want Prometheus on port 9090, as the default", source)
	}

	var boards dashboards
	provisioning(t, grafana, "dashboards/streamlatch.yaml", &boards)
	if len(boards.Providers) != 1 || boards.Version != 1 {
		t.Fatalf("dashboards: got %+v, want one provider, of version 1", boards)
	}
	provider := boards.Providers[0]
	if provider.Type != "file" || provider.Editable {
		t.Errorf("provider: got %+v, want files that cannot be edited", provider)
	}
	home := setting(grafana, "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH")
	if path.Dir(home) != provider.Options.Path {
		t.Fatalf("home dashboard: got %q, want one in %s", home, provider.Options.Path)
	}
	var dashboard any
	if err := json.Unmarshal([]byte(read(t, inRepository(t, grafana, home))), &dashboard); err != nil {
		t.Fatal(err)
	}
	asked := askedFor(dashboard)
	if len(asked) == 0 {
		t.Error("dashboard: got no data source, want one")
	}
	for _, uid := range asked {
		if uid != source.UID && uid != "${datasource}" {
			t.Errorf("dashboard: got the data source %q, want %q or ${datasource}", uid, source.UID)
		}
	}
}

// askedFor returns the uid of each data source in a part of a dashboard.
func askedFor(part any) []string {
	var uids []string
	switch part := part.(type) {
	case map[string]any:
		for name, member := range part {
			if source, ok := member.(map[string]any); ok && name == "datasource" {
				uid, _ := source["uid"].(string)
				uids = append(uids, uid)
			}
			uids = append(uids, askedFor(member)...)
		}
	case []any:
		for _, element := range part {
			uids = append(uids, askedFor(element)...)
		}
	}
	return uids
}

// setting returns a variable of a container's environment, or "" if there is none.
func setting(s types.ServiceConfig, name string) string {
	if value := s.Environment[name]; value != nil {
		return *value
	}
	return ""
}

// Everyone who can reach Grafana can read, and no one can do more.
func TestGrafanaIsForReadingOnly(t *testing.T) {
	grafana := load(t, nil).Services["grafana"]
	for name, want := range map[string]string{
		"GF_AUTH_ANONYMOUS_ENABLED":  "true",
		"GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
		"GF_AUTH_DISABLE_LOGIN_FORM": "true",
		"GF_AUTH_BASIC_ENABLED":      "false",
	} {
		if got := setting(grafana, name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for name := range grafana.Environment {
		if strings.Contains(name, "PASSWORD") || strings.Contains(name, "SECRET") {
			t.Errorf("%s: got a value, want none", name)
		}
	}
}
