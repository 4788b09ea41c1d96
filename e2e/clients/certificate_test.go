package clients

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

const certificateRules = `{"rules": [
	{"name": "uri",     "match": {"path": {"prefix": "/uri/"}},     "client": [{"property": ["connection", "uri_san_peer_certificate"]}]},
	{"name": "subject", "match": {"path": {"prefix": "/subject/"}}, "client": [{"property": ["connection", "subject_peer_certificate"]}]},
	{"name": "digest",  "match": {"path": {"prefix": "/digest/"}},  "client": [{"property": ["connection", "sha256_peer_certificate_digest"]}]},
	{"name": "both",    "match": {"path": {"prefix": "/both/"}},    "client": [{"property": ["connection", "uri_san_peer_certificate"]}, {"query": "tab"}]}
]}`

// edgeName is the name in Envoy's own certificate.
const edgeName = "edge.example"

func TestClientCertificate(t *testing.T) {
	t.Parallel()
	trusted := newAuthority(t, "trusted")
	r := rigtest.Start(t, rig.Options{Filter: certificateRules, LogLevel: "wasm:debug", Edits: []rig.Edit{trusted.requireCertificates(t)}})
	a, b := rigtest.NewClient(), rigtest.NewClient()
	held := trusted.issue(t, a, "spiffe://mesh.example/"+a)
	renewed := trusted.issue(t, a, "spiffe://mesh.example/"+a)
	another := trusted.issue(t, b, "spiffe://mesh.example/"+b)
	namesake := trusted.issue(t, a, "spiffe://mesh.example/"+b)

	for _, test := range []struct {
		about, rule string
		newcomer    tls.Certificate
		query       string
		same        bool
	}{
		{"the same certificate", "uri", held, "", true},
		{"a renewed certificate", "uri", renewed, "", true},
		{"another client's", "uri", another, "", false},
		{"another client's, with the victim's key in the query", "uri", another, "?client=spiffe://mesh.example/" + a, false},
		{"another client's, with the same subject", "uri", namesake, "", false},
		{"a renewed certificate", "subject", renewed, "", true},
		{"another client's", "subject", another, "", false},
		{"the same certificate", "digest", held, "", true},
		{"a renewed certificate", "digest", renewed, "", false},
		{"the same certificate and tab", "both", held, "?tab=1", true},
		{"another tab", "both", held, "?tab=2", false},
		{"another client's, the same tab", "both", another, "?tab=1", false},
	} {
		t.Run(test.rule+"/"+test.about, func(t *testing.T) {
			rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
				request := rig.Request{Path: "/" + test.rule + "/" + test.query, Header: map[string]string{
					"x-forwarded-client-cert": "URI=spiffe://mesh.example/" + a, // a header that anyone can send
				}}
				wantNewcomer(t, r, test.rule,
					dialTLS(t, r, p, 0, trusted.config(held)), rig.Request{Path: "/" + test.rule + "/?tab=1"},
					dialTLS(t, r, p, 1, trusted.config(test.newcomer)), newcomer{request: request, same: test.same})
			})
		})
	}

	t.Run("a certificate without a URI", func(t *testing.T) {
		conn := dialTLS(t, r, rig.HTTP2, 0, trusted.config(trusted.issue(t, a, "")))
		noKey := rigtest.Metrics(t, r)["uri.no_key"]
		rigtest.WantFlow(t, r, rigtest.Open(t, conn, rig.Request{Path: "/uri/"}))
		if got := rigtest.Metrics(t, r)["uri.no_key"]; got != noKey+1 {
			t.Errorf("no_key: got %d, want %d", got, noKey+1)
		}
	})

	t.Run("strangers", func(t *testing.T) {
		rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
			victim := rigtest.Open(t, dialTLS(t, r, p, 0, trusted.config(held)), rig.Request{Path: "/uri/"})
			stranger := newAuthority(t, "stranger").issue(t, a, "spiffe://mesh.example/"+a)
			for about, config := range map[string]*tls.Config{
				"a certificate of another authority": trusted.config(stranger),
				"no certificate":                     trusted.config(),
			} {
				ctx, cancel := context.WithTimeout(t.Context(), wait.Patience)
				defer cancel()
				conn, err := r.DialWorkerTLS(ctx, p, 1, config)
				if err == nil {
					_, err = conn.Open(ctx, rig.Request{Path: "/uri/"})
				}
				if err == nil || ctx.Err() != nil {
					t.Errorf("%s: got the error %v, want a refused connection", about, err)
				}
			}
			rigtest.WantFlow(t, r, victim)
		})
	})
	rigtest.WantNoLeaks(t, r)
}

// dialTLS opens a TLS connection to one worker.
func dialTLS(t *testing.T, r *rig.Rig, p rig.Protocol, worker int, config *tls.Config) *rig.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait.Patience)
	defer cancel()
	c, err := r.DialWorkerTLS(ctx, p, worker, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// authority issues certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	key := newKey(t)
	template := newTemplate(name)
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{certificate, key}
}

// issue returns a certificate for a new key.
func (a authority) issue(t *testing.T, name, uri string) tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := newTemplate(name)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	template.DNSNames = []string{name}
	if uri != "" {
		id, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = []*url.URL{id}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject:      pkix.Name{CommonName: name},
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
}

// config returns the TLS configuration of a client with these certificates.
func (a authority) config(certificates ...tls.Certificate) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(a.certificate)
	return &tls.Config{RootCAs: roots, ServerName: edgeName, Certificates: certificates}
}

// requireCertificates makes Envoy's listener use TLS and require a client certificate of this
// authority.
func (a authority) requireCertificates(t *testing.T) rig.Edit {
	t.Helper()
	edge := a.issue(t, edgeName, "")
	key, err := x509.MarshalPKCS8PrivateKey(edge.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	inline := func(kind string, der []byte) map[string]any {
		return map[string]any{"inline_string": string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))}
	}
	socket, err := json.Marshal(map[string]any{
		"name": "envoy.transport_sockets.tls",
		"typed_config": map[string]any{
			"@type":                      "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
			"require_client_certificate": true,
			"common_tls_context": map[string]any{
				"alpn_protocols":     []string{"h2", "http/1.1"},
				"tls_certificates":   []any{map[string]any{"certificate_chain": inline("CERTIFICATE", edge.Certificate[0]), "private_key": inline("PRIVATE KEY", key)}},
				"validation_context": map[string]any{"trusted_ca": inline("CERTIFICATE", a.certificate.Raw)},
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	const place = "    - filters:\n"
	return rig.Replace(place, "    - transport_socket: "+string(socket)+"\n      filters:\n") // JSON is YAML
}
