package compose

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
)

const fleetFile = "envoy/fleet/compose.yaml"

func TestFleetParts(t *testing.T) {
	p := loadFile(t, fleetFile, nil)
	if p.Name != "streamlatch-fleet" {
		t.Errorf("got the project name %q, want streamlatch-fleet, which no other project has", p.Name)
	}
	if got, want := slices.Sorted(maps.Keys(p.Services)), []string{"demo", "envoy-a", "envoy-b", "etcd-1", "etcd-2", "etcd-3"}; !slices.Equal(got, want) {
		t.Fatalf("got the services %q, want %q", got, want)
	}
	alone := load(t, nil).Services["envoy"].Build
	for service, target := range map[string]string{"demo": "demo", "envoy-a": "fleet", "envoy-b": "fleet"} {
		want := *alone
		want.Target = target
		if got := p.Services[service].Build; got == nil || fmt.Sprint(*got.Args["GO_IMAGE"], *got.Args["ENVOY_IMAGE"]) != fmt.Sprint(*want.Args["GO_IMAGE"], *want.Args["ENVOY_IMAGE"]) ||
			got.Context != want.Context || got.Dockerfile != want.Dockerfile || got.Target != want.Target {
			t.Errorf("%s: got the build %+v, want %+v", service, got, want)
		}
	}
	for _, letter := range []string{"a", "b"} {
		want := "--config-path envoy-" + letter + ".yaml --service-node envoy-" + letter + " "
		if got := strings.Join(p.Services["envoy-"+letter].Command, " "); !strings.HasPrefix(got, want) {
			t.Errorf("envoy-%s: got the command %q, want %q first", letter, got, want)
		}
	}
	if len(p.Volumes) > 0 {
		t.Errorf("got the volumes %v, want none", p.Volumes)
	}
}

// Only this machine can reach the services, and only through the Envoys. etcd is not published.
func TestFleetIsReachedFromThisMachineOnly(t *testing.T) {
	published := func(environment map[string]string) (all []string) {
		for name, s := range loadFile(t, fleetFile, environment).Services {
			if want := "service:demo"; name != "demo" && (s.NetworkMode != want || len(s.Ports) > 0) {
				t.Errorf("%s: got the network %q and the ports %v, want %q and none", name, s.NetworkMode, s.Ports, want)
			}
			for _, port := range s.Ports {
				all = append(all, fmt.Sprintf("%s:%s:%d", port.HostIP, port.Published, port.Target))
			}
		}
		return all
	}
	if got, want := published(nil), []string{"127.0.0.1:10000:10000", "127.0.0.1:10010:10010", "127.0.0.1:10001:10001", "127.0.0.1:10011:10011"}; !slices.Equal(got, want) {
		t.Errorf("got the published ports %q, want %q", got, want)
	}
	other := map[string]string{"EDGE_A_PORT": "1", "EDGE_B_PORT": "2", "INTERNAL_A_PORT": "3", "INTERNAL_B_PORT": "4"}
	if got, want := published(other), []string{"127.0.0.1:1:10000", "127.0.0.1:2:10010", "127.0.0.1:3:10001", "127.0.0.1:4:10011"}; !slices.Equal(got, want) {
		t.Errorf("got the published ports %q, want %q", got, want)
	}
}

// The three etcds find each other, and keep nothing.
func TestFleetEtcds(t *testing.T) {
	p := loadFile(t, fleetFile, nil)
	var members []string
	var cluster string
	for _, name := range []string{"etcd-1", "etcd-2", "etcd-3"} {
		s := p.Services[name]
		if !regexp.MustCompile(`^quay\.io/coreos/etcd:v3\.\d+\.\d+$`).MatchString(s.Image) {
			t.Errorf("%s: got the image %q, want etcd's own with its version", name, s.Image)
		}
		members = append(members, flagOf(t, s, "--name")+"="+flagOf(t, s, "--initial-advertise-peer-urls"))
		for _, listen := range []string{"client", "peer"} {
			advertise := map[string]string{"client": "--advertise-client-urls", "peer": "--initial-advertise-peer-urls"}[listen]
			if got, want := flagOf(t, s, "--listen-"+listen+"-urls"), flagOf(t, s, advertise); got != want {
				t.Errorf("%s: it listens on %s and says %s", name, got, want)
			}
		}
		if data := flagOf(t, s, "--data-dir"); len(s.Tmpfs) != 1 || !strings.HasPrefix(data, strings.Split(s.Tmpfs[0], ":")[0]+"/") {
			t.Errorf("%s: got the data in %q and %q in memory, want the data there", name, data, s.Tmpfs)
		}
		cluster = flagOf(t, s, "--initial-cluster")
		if want := "etcd-1=http://127.0.0.1:2380,etcd-2=http://127.0.0.1:2480,etcd-3=http://127.0.0.1:2580"; cluster != want {
			t.Errorf("%s: got the cluster %s, want %s", name, cluster, want)
		}
	}
	if got := strings.Join(members, ","); got != cluster {
		t.Errorf("got the members %s, want those of the cluster: %s", got, cluster)
	}
}

// flagOf returns the value of a flag in a service's command.
func flagOf(t *testing.T, s types.ServiceConfig, name string) string {
	t.Helper()
	for _, argument := range s.Command {
		if value, ok := strings.CutPrefix(argument, name+"="); ok {
			return value
		}
	}
	t.Errorf("%s: got the command %q, want the flag %s", s.Name, s.Command, name)
	return ""
}
