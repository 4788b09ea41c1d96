package clients

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/authority"
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
	trusted := authority.New(t, "trusted")
	r := rigtest.Start(t, rig.Options{Filter: certificateRules, LogLevel: "wasm:debug", Edits: []rig.Edit{requireCertificates(t, trusted)}})
	a, b := rigtest.NewClient(), rigtest.NewClient()
	held := trusted.Issue(t, a, "spiffe://mesh.example/"+a)
	renewed := trusted.Issue(t, a, "spiffe://mesh.example/"+a)
	another := trusted.Issue(t, b, "spiffe://mesh.example/"+b)
	namesake := trusted.Issue(t, a, "spiffe://mesh.example/"+b)

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
					dialTLS(t, r, p, 0, config(trusted, held)), rig.Request{Path: "/" + test.rule + "/?tab=1"},
					dialTLS(t, r, p, 1, config(trusted, test.newcomer)), newcomer{request: request, same: test.same})
			})
		})
	}

	t.Run("a certificate without a URI", func(t *testing.T) {
		conn := dialTLS(t, r, rig.HTTP2, 0, config(trusted, trusted.Issue(t, a, "")))
		noKey := rigtest.Metrics(t, r)["uri.no_key"]
		rigtest.WantFlow(t, r, rigtest.Open(t, conn, rig.Request{Path: "/uri/"}))
		if got := rigtest.Metrics(t, r)["uri.no_key"]; got != noKey+1 {
			t.Errorf("no_key: got %d, want %d", got, noKey+1)
		}
	})

	t.Run("strangers", func(t *testing.T) {
		rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
			victim := rigtest.Open(t, dialTLS(t, r, p, 0, config(trusted, held)), rig.Request{Path: "/uri/"})
			stranger := authority.New(t, "stranger").Issue(t, a, "spiffe://mesh.example/"+a)
			for about, c := range map[string]*tls.Config{
				"a certificate of another authority": config(trusted, stranger),
				"no certificate":                     config(trusted),
			} {
				ctx, cancel := context.WithTimeout(t.Context(), wait.Patience)
				defer cancel()
				conn, err := r.DialWorkerTLS(ctx, p, 1, c)
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

// config is the TLS configuration of a client. It has the certificates, and trusts the authority.
func config(a authority.Authority, certificates ...tls.Certificate) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate)
	return &tls.Config{RootCAs: roots, ServerName: edgeName, Certificates: certificates}
}

// requireCertificates makes Envoy's listener use TLS and require a client certificate of an
// authority.
func requireCertificates(t *testing.T, a authority.Authority) rig.Edit {
	t.Helper()
	certificate, key := authority.PEM(t, a.Issue(t, edgeName, ""))
	inline := func(text string) map[string]any { return map[string]any{"inline_string": text} }
	socket, err := json.Marshal(map[string]any{
		"name": "envoy.transport_sockets.tls",
		"typed_config": map[string]any{
			"@type":                      "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
			"require_client_certificate": true,
			"common_tls_context": map[string]any{
				"alpn_protocols":     []string{"h2", "http/1.1"},
				"tls_certificates":   []any{map[string]any{"certificate_chain": inline(certificate), "private_key": inline(key)}},
				"validation_context": map[string]any{"trusted_ca": inline(a.PEM())},
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	const place = "    - filters:\n"
	return rig.Replace(place, "    - transport_socket: "+string(socket)+"\n      filters:\n") // JSON is YAML
}
