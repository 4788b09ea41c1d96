package e2e

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
)

// A client may be who Envoy has verified that it is: the subject of a token, the holder of a certificate, an address
// behind a trusted proxy. Then to know whose stream it is that one would like to end is of no use.

// A newcomer asks for an event stream while another client, or the same one, has one.
type newcomer struct {
	about   string
	request rig.Request
	same    bool // it is the same client, and takes over
}

// wantNewcomers opens a stream as the first client for each newcomer, and then one as the newcomer, through another
// worker.
func wantNewcomers(t *testing.T, r *rig.Rig, p rig.Protocol, rule string, first rig.Request, newcomers []newcomer) {
	t.Helper()
	for _, n := range newcomers {
		if !t.Run(n.about, func(t *testing.T) {
			wantNewcomer(t, r, rule, dial(t, r, p, 0), first, dial(t, r, p, 1), n)
		}) {
			return
		}
	}
}

func wantNewcomer(t *testing.T, r *rig.Rig, rule string, oldConn *rig.Conn, first rig.Request, newConn *rig.Conn, n newcomer) {
	t.Helper()
	before := countsOf(metrics(t, r), rule)
	old := open(t, oldConn, first)
	wantCountsSince(t, r, rule, before, counts{opened: 1, active: 1})
	newer := open(t, newConn, n.request)
	live := []*rig.Stream{newer}
	after := counts{opened: 2, superseded: 1, active: 1}
	if n.same {
		wantEnd(t, old, rig.Reset)
	} else {
		live = append(live, old)
		after = counts{opened: 2, active: 2}
	}
	wantCountsSince(t, r, rule, before, after)
	for _, s := range live {
		wantFlow(t, r, s)
		s.Close()
	}
	after.released, after.active = after.active, 0
	wantCountsSince(t, r, rule, before, after)
}

// wantNoLeaks stops an Envoy and looks for clients in what it said.
func wantNoLeaks(t *testing.T, r *rig.Rig) {
	t.Helper()
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
	if found := leaks(r); len(found) > 0 {
		t.Errorf("the logs name clients:\n%s", strings.Join(found, "\n"))
	}
}

// before puts a filter in front of this one.
func before(filter string) rig.Edit {
	const place = "          http_filters:\n"
	return rig.Replace(place, place+filter)
}

// tokens issues what one jwt_authn takes for true.
type tokens struct{ key *rsa.PrivateKey }

func newTokens(t *testing.T) tokens {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return tokens{key}
}

// issuer is the issuer of all tokens.
const issuer = "https://issuer.example"

// jwtAuthn is Envoy's own filter as it stands in front: no request passes without a token, and the claims of one that
// passes are left in dynamic metadata.
func (i tokens) jwtAuthn() rig.Edit { return before(i.jwtAuthnFilter("")) }

// jwtAuthnFilter is that filter, with more that its provider has.
func (i tokens) jwtAuthnFilter(more string) string {
	return fmt.Sprintf(`          - name: envoy.filters.http.jwt_authn
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers:
                issuer:
                  issuer: %s
                  payload_in_metadata: payload
%s                  local_jwks:
                    inline_string: '%s'
              rules:
              - match: {prefix: /}
                requires: {provider_name: issuer}
`, issuer, more, i.keys())
}

// keys returns what verifies the tokens, a JWK set.
func (i tokens) keys() string {
	encode := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf(`{"keys": [{"kty": "RSA", "alg": "RS256", "n": "%s", "e": "%s"}]}`,
		encode(i.key.N.Bytes()), encode(big.NewInt(int64(i.key.E)).Bytes()))
}

// token returns a token with these claims, JSON, and those that every token has.
func (i tokens) token(t *testing.T, claims string) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg": "RS256"}`)) + "." + encode(fmt.Appendf(nil, `{"iss": %q, "exp": 4102444800, %s}`, issuer, claims))
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(nil, i.key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + encode(signature)
}

// bearer is a request for an event stream that shows a token.
func bearer(rule, token string) rig.Request {
	return rig.Request{Path: "/" + rule + "/", Header: map[string]string{"authorization": "Bearer " + token}}
}

const claimRules = `{"rules": [
	{"name": "sub",    "match": {"path": {"prefix": "/sub/"}},    "client": [{"jwt_claim": {"claim": "sub", "metadata_key": "payload"}}]},
	{"name": "uid",    "match": {"path": {"prefix": "/uid/"}},    "client": [{"jwt_claim": {"claim": "uid", "metadata_key": "payload"}}]},
	{"name": "nested", "match": {"path": {"prefix": "/nested/"}}, "client": [{"jwt_claim": {"claim": ["org", "user"], "metadata_key": "payload"}}]},
	{"name": "device", "match": {"path": {"prefix": "/device/"}}, "client": [{"jwt_claim": {"claim": "sub", "metadata_key": "payload"}}, {"header": "x-device"}]}
]}`

func TestVerifiedClaim(t *testing.T) {
	t.Parallel()
	issued := newTokens(t)
	r := start(t, rig.Options{Filter: claimRules, LogLevel: "wasm:debug", Edits: []rig.Edit{issued.jwtAuthn()}})
	a, b := newClient(), newClient()
	as := func(rule, claims string) rig.Request { return bearer(rule, issued.token(t, claims)) }
	with := func(device string, q rig.Request) rig.Request {
		q.Header["x-device"] = device
		return q
	}
	for _, source := range []struct {
		rule      string
		first     rig.Request
		newcomers []newcomer
	}{
		{"sub", as("sub", `"sub": "`+a+`"`), []newcomer{
			{"the same subject", as("sub", `"sub": "`+a+`", "jti": "another token"`), true},
			{"another subject", as("sub", `"sub": "`+b+`"`), false},
		}},
		{"uid", as("uid", `"uid": 42`), []newcomer{
			{"the same number", as("uid", `"uid": 42.0`), true},
			{"the number as a string", as("uid", `"uid": "42"`), true},
			{"another number", as("uid", `"uid": 43`), false},
			{"the bytes of the number", as("uid", `"uid": "\u0000\u0000\u0000\u0000\u0000\u0000E@"`), false}, // what get_property gives for the number 42
		}},
		{"nested", as("nested", `"org": {"user": "`+a+`"}`), []newcomer{
			{"the same user", as("nested", `"user": "x", "org": {"name": "y", "user": "`+a+`"}`), true},
			{"another user", as("nested", `"user": "`+a+`", "org": {"user": "`+b+`"}`), false},
		}},
		{"device", with("1", as("device", `"sub": "`+a+`"`)), []newcomer{
			{"the same device", with("1", as("device", `"sub": "`+a+`"`)), true},
			{"another device", with("2", as("device", `"sub": "`+a+`"`)), false},
			{"another's device", with("1", as("device", `"sub": "`+b+`"`)), false},
		}},
	} {
		t.Run(source.rule, func(t *testing.T) {
			protocols(t, func(t *testing.T, p rig.Protocol) {
				wantNewcomers(t, r, p, source.rule, source.first, source.newcomers)
			})
		})
	}

	t.Run("claims that name nobody", func(t *testing.T) {
		conn := dial(t, r, rig.HTTP2, 0)
		for _, claims := range []string{`"sub": "no uid"`, `"uid": ""`, `"uid": null`, `"uid": true`, `"uid": [42]`, `"uid": {"uid": 42}`, `"uid": 4.2`, `"uid": 9007199254740993`} {
			noKey := metrics(t, r)["uid.no_key"]
			one, other := open(t, conn, as("uid", claims)), open(t, conn, as("uid", claims))
			wantFlow(t, r, one)
			wantFlow(t, r, other)
			if got := metrics(t, r)["uid.no_key"]; got != noKey+2 {
				t.Errorf("%s: no_key went from %d to %d, want 2 more", claims, noKey, got)
			}
		}
	})
	wantNoLeaks(t, r)
}

// A stranger who guesses a client id cannot evict a stream keyed by a verified principal.
func TestStrangerCannotEvictPrincipal(t *testing.T) {
	t.Parallel()
	issued := newTokens(t)
	r := start(t, rig.Options{Filter: claimRules, LogLevel: "wasm:debug", Edits: []rig.Edit{issued.jwtAuthn()}})
	victim, stranger := newClient(), newClient()
	genuine := issued.token(t, `"sub": "`+victim+`"`)
	head, signature := genuine[:strings.LastIndex(genuine, ".")], genuine[strings.LastIndex(genuine, "."):]
	encode := base64.RawURLEncoding.EncodeToString
	none := encode([]byte(`{"alg": "none"}`)) + head[strings.Index(head, "."):] + "."
	others := strings.Split(issued.token(t, `"sub": "`+stranger+`"`), ".")

	protocols(t, func(t *testing.T, p rig.Protocol) {
		had := countsOf(metrics(t, r), "sub")
		held := open(t, dial(t, r, p, 0), bearer("sub", genuine))
		conn := func() *rig.Conn { return dial(t, r, p, 1) }

		for about, token := range map[string]string{
			"no token":              "",
			"no signature":          head + ".",
			"no algorithm":          none,
			"another's key":         newTokens(t).token(t, `"sub": "`+victim+`"`),
			"another's signature":   head + "." + others[2],
			"signature over others": others[0] + "." + others[1] + signature,
		} {
			q := bearer("sub", token)
			q.Header["x-device"], q.Header["cookie"], q.Path = victim, "sub="+victim, "/sub/?sub="+victim
			if response := do(t, conn(), q); response.Status != http.StatusUnauthorized {
				t.Errorf("%s: status %d, want 401", about, response.Status)
			}
		}

		q := bearer("sub", issued.token(t, `"sub": "`+stranger+`", "org": {"sub": "`+victim+`"}, "payload": {"sub": "`+victim+`"}`))
		q.Path = "/sub/?sub=" + victim + "&client=" + victim
		for _, name := range []string{"sub", "x-sub", "x-client-id", "x-jwt-payload", "x-forwarded-for", "payload", "metadata"} {
			q.Header[name] = victim
		}
		q.Header["cookie"] = "sub=" + victim
		own := open(t, conn(), q)
		wantFlow(t, r, held)
		wantFlow(t, r, own)
		wantCountsSince(t, r, "sub", had, counts{opened: 2, active: 2})

		again := open(t, conn(), bearer("sub", genuine)) // and the victim itself still can
		wantEnd(t, held, rig.Reset)
		wantFlow(t, r, own)
		wantFlow(t, r, again)
		own.Close()
		again.Close()
		wantCountsSince(t, r, "sub", had, counts{opened: 3, superseded: 1, released: 2})
	})
	wantNoLeaks(t, r)
}
