package front

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// A front is Envoy's own filters around this one.
type front struct {
	issued rigtest.Tokens
	authz  *authorization
}

func newFront(t *testing.T) front {
	t.Helper()
	f := front{issued: rigtest.NewTokens(t), authz: &authorization{}}
	server := httptest.NewServer(f.authz)
	t.Cleanup(server.Close)
	f.authz.address = server.Listener.Addr().String()
	return f
}

// as is the request of a user for an event stream, from a page of another origin.
func (f front) as(t *testing.T, user, path string) rig.Request {
	t.Helper()
	return rig.Request{Client: user, Path: path, Header: map[string]string{
		"authorization": "Bearer " + f.issued.Token(t, `"sub": "`+user+`"`),
		"origin":        page,
	}}
}

// forged is a request of a user who claims to be another.
func (f front) forged(t *testing.T, user, other string) rig.Request {
	t.Helper()
	q := f.as(t, user, "/set/")
	q.Header["x-user"] = other
	return q
}

// page is the origin that cors lets in.
const page = "https://app.example"

// order puts the named filters before this one, and those that are named after "streamlatch" behind it.
func (f front) order(names ...string) []rig.Edit {
	known := map[string]string{
		"cors":       rigtest.CORSFilter,
		"jwt_authn":  f.issued.JWTAuthnFilter("                  forward: true\n"), // or ext_authz sees no token
		"ext_authz":  extAuthz,
		"rate_limit": localRateLimit,
		"compressor": compressor(""),
	}
	var outer, inner strings.Builder
	to := &outer
	for _, name := range names {
		if name == "streamlatch" {
			to = &inner
			continue
		}
		to.WriteString(known[name])
	}
	return []rig.Edit{rigtest.Before(outer.String()), rigtest.After(inner.String()), f.authz.cluster(), rigtest.CORSPolicy, rateLimits}
}

// authorization is the service that ext_authz asks. It bans whoever asks for a path that says so, and tells the backend
// the user in a header, whatever the client has put there.
type authorization struct {
	address string
	asked   atomic.Int64
}

func (a *authorization) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.asked.Add(1)
	if strings.Contains(r.RequestURI, "banned") {
		http.Error(w, "banned", http.StatusForbidden)
		return
	}
	w.Header().Set("X-User", subject(r.Header.Get("Authorization")))
}

// subject is the subject of a token, which jwt_authn has verified.
func subject(authorization string) string {
	_, payload, _ := strings.Cut(authorization, ".")
	payload, _, _ = strings.Cut(payload, ".")
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return ""
	}
	var claims struct{ Sub string }
	if json.Unmarshal(text, &claims) != nil {
		return ""
	}
	return claims.Sub
}

const extAuthz = `          - name: envoy.filters.http.ext_authz
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
              transport_api_version: V3
              http_service:
                server_uri: {uri: "http://authz.example", cluster: authz, timeout: 30s}
                authorization_response:
                  allowed_upstream_headers: {patterns: [{exact: x-user}]}
`

func (a *authorization) cluster() rig.Edit {
	return anotherCluster("authz", a.address)
}

// anotherCluster adds a cluster of one endpoint.
func anotherCluster(name, address string) rig.Edit {
	host, port, _ := strings.Cut(address, ":")
	const place = "  clusters:\n"
	return rig.Replace(place, place+fmt.Sprintf(`  - name: %s
    type: STATIC
    connect_timeout: 5s
    load_assignment:
      cluster_name: %[1]s
      endpoints:
      - lb_endpoints:
        - endpoint:
            address:
              socket_address: {address: %s, port_value: %s}
`, name, host, port))
}

// localRateLimit lets one request pass of each hurry, for an hour, and all that are in none.
const localRateLimit = `          - name: envoy.filters.http.local_ratelimit
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
              stat_prefix: hurry
              filter_enabled: {default_value: {numerator: 100}}
              filter_enforced: {default_value: {numerator: 100}}
              token_bucket: {max_tokens: 1000000, tokens_per_fill: 1000000, fill_interval: 3600s}
              descriptors:
              - entries: [{key: hurry, value: HTTP/1.1}]
                token_bucket: {max_tokens: 1, tokens_per_fill: 1, fill_interval: 3600s}
              - entries: [{key: hurry, value: HTTP/2}]
                token_bucket: {max_tokens: 1, tokens_per_fill: 1, fill_interval: 3600s}
`

// hurry makes a request one of the hurry that this protocol has.
func hurry(p rig.Protocol) func(*rig.Request) {
	return func(q *rig.Request) {
		if q.Header == nil {
			q.Header = make(map[string]string)
		}
		q.Header["x-hurry"] = p.String()
	}
}

// spend takes the one token of a hurry, for a document.
func spend(t *testing.T, r *rig.Rig, p rig.Protocol, q rig.Request) {
	t.Helper()
	hurry(p)(&q)
	q.Answer = rig.JSON
	if got := rigtest.Do(t, rigtest.Dial(t, r, p, 0), q); got.Status != http.StatusOK {
		t.Fatalf("status %d for the first of a hurry, want 200", got.Status)
	}
}

var rateLimits = onRoute(`                  rate_limits:
                  - actions:
                    - request_headers: {header_name: x-hurry, descriptor_key: hurry}
`)

// onRoute gives the route for event streams more to do.
func onRoute(more string) rig.Edit {
	const place = "                  timeout: 0s       #"
	return rig.Replace(place, more+place)
}

// compressor compresses what clients say that they take, of its default content types and of more.
func compressor(more string) string {
	return `          - name: envoy.filters.http.compressor
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor
` + more + `              compressor_library:
                name: gzip
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip
`
}
