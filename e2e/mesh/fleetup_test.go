//go:build etcd

package mesh

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/authority"
	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/wait"
	"github.com/streamlatch/streamlatch/envoy"
	"github.com/streamlatch/streamlatch/envoy/etcd"
	"sigs.k8s.io/yaml"
)

const (
	etcdName = "etcd.etcd.svc.cluster.local"
	// mounted is the folder of the client's certificate in the files.
	mounted = "/etc/streamlatch/etcd"
)

// startEtcd starts an etcd that asks for client certificates. It returns its port, and a folder
// with the files of a client.
func startEtcd(t *testing.T) (port int, client string) {
	t.Helper()
	path, _, err := etcd.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "https://" + l.Addr().String()
	port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	trusted := authority.New(t, "trusted")
	files := func(name string) string {
		dir := t.TempDir()
		certificate, key := authority.PEM(t, trusted.Issue(t, name, ""))
		for file, text := range map[string]string{"tls.crt": certificate, "tls.key": key, "ca.crt": trusted.PEM()} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	server := files(etcdName)
	const peer = "unix://peer:1"
	cmd := exec.Command(path, "--name", "one", "--log-level", "error",
		"--listen-client-urls", url, "--advertise-client-urls", url,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "one="+peer,
		"--client-cert-auth", "--trusted-ca-file", server+"/ca.crt", "--cert-file", server+"/tls.crt", "--key-file", server+"/tls.key")
	var output bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = t.TempDir(), &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("etcd: %s", output.String())
		}
	})
	return port, files("envoy")
}

// intoFleet is into for an Envoy of a fleet: fleet/envoy.yaml also gets the cluster etcd of the
// translation, with the address and the files of this test.
func (x translation) intoFleet(t *testing.T, port int, client string) rig.Edit {
	edit := x.into(t, t.TempDir())
	return func(config string) (string, error) {
		config, err := edit(config)
		if err != nil {
			return "", err
		}
		var c object
		if err := yaml.Unmarshal([]byte(config), &c); err != nil {
			return "", err
		}
		cluster := x.etcd(t)
		address := at(cluster, "load_assignment", "endpoints", 0, "lb_endpoints", 0, "endpoint", "address", "socket_address").(object)
		if address["address"] != etcdName {
			t.Errorf("got the address %v, want %s", address["address"], etcdName)
		}
		address["address"], address["port_value"] = "127.0.0.1", port
		clusters := at(c, "static_resources", "clusters").([]any)
		for i := range clusters {
			if at(clusters[i], "name") == "etcd" {
				clusters[i] = cluster
			}
		}
		edited, err := json.Marshal(c)
		if n := strings.Count(string(edited), mounted); n != 3 {
			t.Errorf("got %d files in %s, want 3", n, mounted)
		}
		return strings.ReplaceAll(string(edited), mounted, client), err
	}
}

// A takeover from one Envoy to another, over an etcd with TLS and client certificates, with what
// each control plane makes from the shipped files.
func TestFleetTakeover(t *testing.T) {
	for _, name := range []string{"istio-fleet", "envoy-gateway-fleet"} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), wait.Patience)
			defer cancel()
			port, client := startEtcd(t)
			start := func(first *rig.Rig) *rig.Rig {
				x := load(t, name)
				if x.Stats == nil {
					x.Stats = bootstrapOverride(t)
				}
				o := rig.Options{
					Concurrency: 2,
					Base:        func(s envoy.Settings) (string, error) { s.Etcd = port; return envoy.RenderFleet(s) },
					Edits:       []rig.Edit{x.intoFleet(t, port, client)},
				}
				if first != nil {
					o.Handler = first.Backend
				}
				r, err := rig.Start(ctx, o)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := r.Stop(); err != nil {
						t.Error(err)
					}
				})
				return r
			}
			a := start(nil)
			b := start(a)
			first := open(t, ctx, a, rig.HTTP1, 0)
			second := open(t, ctx, b, rig.HTTP2, 1)
			end, err := first.End(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if end.How != rig.Reset {
				t.Errorf("the first stream: got %v (%v), want %v", end.How, end.Err, rig.Reset)
			}
			if !a.Backend.Send(second.ID, "hello") {
				t.Fatal("the second stream: want it open at the backend")
			}
			wantMetric(t, ctx, b, `streamlatch_superseded{streamlatch_rule="events"} 1`)
		})
	}
}
