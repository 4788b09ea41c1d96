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

// The fields that Grafana's provisioning has, of those that a Prometheus and a dashboard from files need. An unknown one it
// would pass over.
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

// provisioning decodes a file of the folder that the container has as Grafana's own.
func provisioning(t *testing.T, grafana types.ServiceConfig, name string, into any) {
	t.Helper()
	file := inRepository(t, grafana, path.Join("/etc/grafana/provisioning", name))
	decoder := yaml.NewDecoder(strings.NewReader(read(t, file)))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// inRepository returns the file that the container sees by this name.
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
	t.Fatalf("%s has no %s", s.Name, name)
	return ""
}

// Grafana cannot be run here: what it finds in its container fits together.
func TestGrafanaFindsPrometheusAndTheDashboard(t *testing.T) {
	grafana := load(t, nil).Services["grafana"]
	var sources datasources
	provisioning(t, grafana, "datasources/prometheus.yaml", &sources)
	if len(sources.Sources) != 1 || sources.Version != 1 {
		t.Fatalf("datasources: %+v, want one, of version 1", sources)
	}
	source := sources.Sources[0]
	if source.Type != "prometheus" || source.Access != "proxy" || source.URL != "http://127.0.0.1:9090" || !source.Default || source.UID == "" {
		t.Errorf("the datasource is %+v", source)
	}

	var boards dashboards
	provisioning(t, grafana, "dashboards/streamlatch.yaml", &boards)
	if len(boards.Providers) != 1 || boards.Version != 1 {
		t.Fatalf("dashboards: %+v, want one provider, of version 1", boards)
	}
	provider := boards.Providers[0]
	if provider.Type != "file" || provider.Editable {
		t.Errorf("the provider is %+v", provider)
	}
	home := setting(grafana, "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH")
	if path.Dir(home) != provider.Options.Path {
		t.Fatalf("the first page is %q, and the dashboards are in %s", home, provider.Options.Path)
	}
	var dashboard any
	if err := json.Unmarshal([]byte(read(t, inRepository(t, grafana, home))), &dashboard); err != nil {
		t.Fatal(err)
	}
	asked := askedFor(dashboard)
	if len(asked) == 0 {
		t.Error("the dashboard asks no datasource")
	}
	for _, uid := range asked {
		if uid != source.UID && uid != "${datasource}" {
			t.Errorf("the dashboard asks the datasource %q, want the one that is there, %q, or the one that is chosen", uid, source.UID)
		}
	}
}

// askedFor returns the uid of each datasource that a part of a dashboard asks for.
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

// setting returns a variable of a container's environment; "" if there is none.
func setting(s types.ServiceConfig, name string) string {
	if value := s.Environment[name]; value != nil {
		return *value
	}
	return ""
}

// Anybody who reaches it may look, and nobody can do more.
func TestGrafanaIsForReadingOnly(t *testing.T) {
	grafana := load(t, nil).Services["grafana"]
	for name, want := range map[string]string{
		"GF_AUTH_ANONYMOUS_ENABLED":  "true",
		"GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
		"GF_AUTH_DISABLE_LOGIN_FORM": "true",
		"GF_AUTH_BASIC_ENABLED":      "false",
	} {
		if got := setting(grafana, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for name := range grafana.Environment {
		if strings.Contains(name, "PASSWORD") || strings.Contains(name, "SECRET") {
			t.Errorf("%s is set", name)
		}
	}
}
