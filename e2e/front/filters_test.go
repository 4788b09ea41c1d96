package front

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// front configures Envoy's own filters around Streamlatch.
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

// as returns a user's request for an event stream, sent by a page of another origin.
func (f front) as(t *testing.T, user, path string) rig.Request {
	t.Helper()
	return rig.Request{Client: user, Path: path, Header: map[string]string{
		"authorization": "Bearer " + f.issued.Token(t, `"sub": "`+user+`"`),
		"origin":        page,
	}}
}

// forged returns a request of user that claims in a header to come from other.
func (f front) forged(t *testing.T, user, other string) rig.Request {
	t.Helper()
	q := f.as(t, user, "/set/")
	q.Header["x-user"] = other
	return q
}

// page is the origin that the policy of cors allows.
const page = "https://app.example"

// order configures the named filters in this order. "streamlatch" stands for this filter.
func (f front) order(names ...string) []rig.Edit {
	known := map[string]string{
		"cors":       rigtest.CORSFilter,
		"jwt_authn":  f.issued.JWTAuthnFilter("                  forward: true\n"), // otherwise ext_authz does not get the token
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

// authorization is the service that ext_authz asks. It rejects requests whose path contains
// "banned". For others it sets the header x-user to the user, whatever the client sent in it.
type authorization struct {
	address string
	asked   atomic.Int64 // number of requests
}

func (a *authorization) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.asked.Add(1)
	if strings.Contains(r.RequestURI, "banned") {
		http.Error(w, "banned", http.StatusForbidden)
		return
	}
	w.Header().Set("X-User", subject(r.Header.Get("Authorization")))
}

// subject returns the subject of a token that jwt_authn has verified.
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
	return rigtest.AnotherCluster("authz", a.address)
}

// localRateLimit allows one request in an hour for each value of the header x-hurry, and does not
// limit requests without this header.
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

// hurry returns a change that puts a request under the rate limit of this protocol.
func hurry(p rig.Protocol) func(*rig.Request) {
	return func(q *rig.Request) {
		if q.Header == nil {
			q.Header = make(map[string]string)
		}
		q.Header["x-hurry"] = p.String()
	}
}

// spend uses the only token of this protocol's rate limit, for a request that is not a stream.
func spend(t *testing.T, r *rig.Rig, p rig.Protocol, q rig.Request) {
	t.Helper()
	hurry(p)(&q)
	q.Answer = rig.JSON
	if got := rigtest.Do(t, rigtest.Dial(t, r, p, 0), q); got.Status != http.StatusOK {
		t.Fatalf("the first request under the rate limit: got status %d, want 200", got.Status)
	}
}

var rateLimits = rigtest.OnRoute(`                  rate_limits:
                  - actions:
                    - request_headers: {header_name: x-hurry, descriptor_key: hurry}
`)

// compressor returns Envoy's gzip compressor. It compresses its default content types, and those in
// more.
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
