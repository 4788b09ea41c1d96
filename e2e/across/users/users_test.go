//go:build etcd

// Package users tests a fleet whose etcd knows its clients by their certificates.
package users

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/fleettest"
	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// authority issues certificates, into files of a folder.
type authority struct {
	dir         string
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.certificate = &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	a.key = a.issue(t, "ca", a.certificate, nil)
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// client issues a certificate for a user of etcd.
func (a *authority) client(t *testing.T, name string) {
	t.Helper()
	a.issue(t, name, &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, a.key)
}

// issue writes name.crt and name.key, and completes c. A certificate without a signer signs itself.
func (a *authority) issue(t *testing.T, name string, c *x509.Certificate, signer *ecdsa.PrivateKey) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if signer == nil {
		signer = key
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	public, err := x509.CreateCertificate(rand.Reader, c, a.certificate, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: public}, ".key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(a.file(name+file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return key
}

// secure starts an etcd that only takes clients with a certificate of a.
func (a *authority) secure(t *testing.T) *fleettest.Etcd {
	t.Helper()
	// etcd's own JSON interface is a client of it, with this certificate.
	a.issue(t, "etcd", &x509.Certificate{
		DNSNames: []string{"etcd.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.key)
	a.client(t, "root")
	own, err := tls.LoadX509KeyPair(a.file("root.crt"), a.file("root.key"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(a.file("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return fleettest.StartEtcdFor(t, 1, fleettest.Clients{
		TLS: &tls.Config{Certificates: []tls.Certificate{own}, RootCAs: roots},
		Args: []string{"--client-cert-auth", "--trusted-ca-file", a.file("ca.crt"),
			"--cert-file", a.file("etcd.crt"), "--key-file", a.file("etcd.key")},
	})
}

// asRoot runs a command with the environment with which etcdctl reaches etcd as its root.
func (a *authority) asRoot(t *testing.T, e *fleettest.Etcd, command ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3", "ETCDCTL_ENDPOINTS=https://"+e.Nodes[0].Address, "ETCDCTL_CACERT="+a.file("ca.crt"),
		"ETCDCTL_CERT="+a.file("root.crt"), "ETCDCTL_KEY="+a.file("root.key"))
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", command, err, output)
	}
	return string(output)
}

// envoys starts Envoys that reach etcd with a user's certificate: the lines of the shipped file
// that are off there are on.
func (a *authority) envoys(t *testing.T, e *fleettest.Etcd, n int, user string) []*rig.Rig {
	t.Helper()
	withTLS := func(config string) (string, error) {
		before, rest, _ := strings.Cut(config, "    # transport_socket:\n")
		block, after, found := strings.Cut(rest, "    # ---- End of TLS.\n")
		if !found {
			return "", fmt.Errorf("the file has no lines for TLS")
		}
		block = strings.ReplaceAll("    # transport_socket:\n"+block, "    # ", "    ")
		return before + block + after, nil
	}
	const shipped = "/etc/envoy/etcd/"
	return fleettest.Envoys(t, n, fleettest.Options{Ports: e.Ports(t), Edits: []rig.Edit{
		withTLS,
		rig.Replace(shipped+"client.crt", a.file(user+".crt")),
		rig.Replace(shipped+"client.key", a.file(user+".key")),
		rig.Replace(shipped+"ca.crt", a.file("ca.crt")),
	}})
}

// Envoys with the certificate of a user that etcd.sh has made keep their promise over etcd. Those
// of a user with another prefix may not, and their log names it.
func TestUsers(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	e := a.secure(t)
	a.asRoot(t, e, "etcdctl", "user", "add", "root", "--no-password")
	a.asRoot(t, e, "etcdctl", "user", "grant-role", "root", "root")
	const script = "../../../envoy/fleet/etcd.sh"
	a.client(t, "envoy")
	a.asRoot(t, e, "sh", script, "envoy")
	a.client(t, "neighbour")
	a.asRoot(t, e, "sh", script, "neighbour", "theirs")
	a.asRoot(t, e, "etcdctl", "auth", "enable")
	streams := func() int {
		return strings.Count(a.asRoot(t, e, "etcdctl", "get", "--prefix", "--keys-only", "streamlatch/1/c/"), "streamlatch/")
	}
	wantStreams := func(want int) {
		t.Helper()
		wait.Until(t, func() error {
			if n := streams(); n != want {
				return fmt.Errorf("etcd has %d streams, want %d", n, want)
			}
			return nil
		})
	}

	envoys := a.envoys(t, e, 2, "envoy")
	client := rigtest.NewClient()
	old := fleettest.Open(t, envoys[0], rig.HTTP2, 0, client)
	wantStreams(1)
	fresh := fleettest.Open(t, envoys[1], rig.HTTP2, 0, client)
	rigtest.WantEnd(t, old, rig.Reset)
	rigtest.WantLive(t, envoys[0], client, fresh)
	wantStreams(1)

	neighbour := a.envoys(t, e, 1, "neighbour")[0]
	first := fleettest.Open(t, neighbour, rig.HTTP2, 0, client)
	second := fleettest.Open(t, neighbour, rig.HTTP2, 0, client) // within its own Envoy
	rigtest.WantEnd(t, first, rig.Reset)
	rigtest.WantLive(t, neighbour, client, second)
	wait.Until(t, func() error {
		const want = `fleet away cluster=etcd fault="status 7: etcdserver: permission denied`
		if len(neighbour.Log.Containing(want)) == 0 {
			return fmt.Errorf("the log has no line with %s", want)
		}
		return nil
	})
	fresh.Close()
	wantStreams(0)
}
