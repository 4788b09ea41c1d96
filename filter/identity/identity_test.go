package identity_test

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/streamlatch/streamlatch/filter/identity"
)

// request is a Request. It holds headers by name, and properties by property of their path.
type request map[string]string

func (r request) Header(name string) (string, bool) {
	value, ok := r[name]
	return value, ok
}

func (r request) Property(path ...string) (string, bool) {
	value, ok := r[property(path...)]
	return value, ok
}

// property returns the key of a property in a request. No header has such a name.
func property(path ...string) string { return "property " + strings.Join(path, ".") }

// readNamed reads the value of a source of this kind and name. ok is false if it is missing.
func readNamed(t testing.TB, kind identity.Kind, name string, req request) (value string, ok bool) {
	t.Helper()
	return readSource(t, identity.Source{Kind: kind, Name: name}, req)
}

// readSource reads the value of one source. ok is false if it is missing.
func readSource(t testing.TB, source identity.Source, req request) (value string, ok bool) {
	t.Helper()
	key, missing := identity.Sources{source}.Append(nil, req)
	if missing != identity.Complete {
		if len(key) != 0 {
			t.Fatalf("a source is missing: the key is %q, want it empty", key)
		}
		return "", false
	}
	values := split(t, key)
	if len(values) != 1 {
		t.Fatalf("key %q has %d values, want 1", key, len(values))
	}
	return values[0], true
}

// split returns the values that key was made of. It can do so for every key only because different
// values have different keys.
func split(t testing.TB, key []byte) (values []string) {
	t.Helper()
	for len(key) > 0 {
		size, n := binary.Uvarint(key)
		if n <= 0 || uint64(len(key)-n) < size {
			t.Fatalf("key ends within a value: %q", key)
		}
		values = append(values, string(key[n:n+int(size)]))
		key = key[n+int(size):]
	}
	return values
}

// missing is what tests expect if a source has no value.
const missing = "\x00missing"

func TestHeader(t *testing.T) {
	for _, test := range []struct {
		about, name, want string
		req               request
	}{
		{"usual", "x-client-id", "42", request{"x-client-id": "42"}},
		{"name in any case", "X-Client-ID", "42", request{"x-client-id": "42"}},
		{"pseudo header", ":authority", "a.example", request{":authority": "a.example"}},
		{"value is not trimmed or split", "x-client-id", "a, b ", request{"x-client-id": "a, b "}},
		{"bytes", "x-client-id", "\x00\xff", request{"x-client-id": "\x00\xff"}},
		{"missing", "x-client-id", missing, request{}},
		{"empty", "x-client-id", missing, request{"x-client-id": ""}},
	} {
		t.Run(test.about, func(t *testing.T) {
			testNamed(t, identity.Header, test.name, test.req, test.want)
		})
	}
}

func TestCookie(t *testing.T) {
	for _, test := range []struct{ about, header, want string }{
		{"only one", "sid=42", "42"},
		{"among others", "a=1; sid=42; b=2", "42"},
		{"white space around the pair", "a=1;\t sid=42 \t;b=2", "42"},
		{"no white space", "a=1;sid=42", "42"},
		{"the first counts", "sid=1; sid=2", "1"},
		{"the first counts, even if empty", "sid=; sid=2", missing},
		{"equal signs in the value", "sid=a=b=", "a=b="},
		{"quoted", `sid="42"`, "42"},
		{"one pair of quotes is removed", `sid=""42""`, `"42"`},
		{"opening quote only", `sid="42`, `"42`},
		{"a single quote character", `sid="`, `"`},
		{"empty quotes", `sid=""`, missing},
		{"a semicolon in quotes separates", `a="x; sid=42"`, `42"`},
		{"percent signs are not decoded", "sid=%34", "%34"},
		{"bytes", "sid=\x00\xff", "\x00\xff"},
		{"case of the name", "SID=42", missing},
		{"longer name", "xsid=42; sidx=42", missing},
		{"shorter name", "si=1; d=2; sid=3", "3"},
		{"space before the equal sign", "sid =42", missing},
		{"no equal sign", "sid", missing},
		{"no equal sign, then a pair", "sid; sid=42", "42"},
		{"no name", "=42", missing},
		{"other separators", "a=1, sid=42&sid=42", missing},
		{"only separators", ";;; ;", missing},
		{"empty header", "", missing},
	} {
		t.Run(test.about, func(t *testing.T) {
			testNamed(t, identity.Cookie, "sid", request{"cookie": test.header}, test.want)
		})
	}
	t.Run("no header", func(t *testing.T) { testNamed(t, identity.Cookie, "sid", request{}, missing) })
}

func TestQuery(t *testing.T) {
	for _, test := range []struct{ about, path, name, want string }{
		{"only one", "/events?tab=42", "tab", "42"},
		{"among others", "/events?a=1&tab=42&b=2", "tab", "42"},
		{"value decoded", "/?tab=a%20b+c%2Bd%2f", "tab", "a b c+d/"},
		{"name decoded", "/?%74%61b=42", "tab", "42"},
		{"name with space", "/?my+tab=42", "my tab", "42"},
		{"the name of the source is not decoded", "/?my+tab=42", "my+tab", missing},
		{"the first counts", "/?tab=1&tab=2", "tab", "1"},
		{"the first counts, even if empty", "/?tab=&tab=2", "tab", missing},
		{"the first counts, even without an equal sign", "/?tab&tab=2", "tab", missing},
		{"invalid escape in the value", "/?tab=%zz&tab=2", "tab", "%zz"},
		{"invalid escape in the name", "/?tab%=1&tab=2", "tab%", "1"},
		{"invalid escape in another name", "/?tab%=1&tab=2", "tab", "2"},
		{"incomplete escape, one digit", "/?tab=%4", "tab", "%4"},
		{"incomplete escape, no digit", "/?tab=100%", "tab", "100%"},
		{"among other characters", "/?tab=50%off", "tab", "50%off"},
		{"the old JavaScript escape", "/?tab=%u00e9", "tab", "%u00e9"},
		{"a percent sign before an escape", "/?tab=%%41", "tab", "%A"},
		{"an escape ends at the separator", "/?tab=%4&2=x&tab=2", "tab", "%4"},
		{"equal signs in the value", "/?tab=a=b", "tab", "a=b"},
		{"a semicolon does not separate", "/?tab=1;tab=2", "tab", "1;tab=2"},
		{"later question marks are ordinary", "/?tab=a?b&?tab=2", "tab", "a?b"},
		{"fragment", "/?tab=42#x&tab=2", "tab", "42"},
		{"fragment with a question mark", "/#?tab=42", "tab", missing},
		{"bytes", "/?tab=%00\xff%FE", "tab", "\x00\xff\xfe"},
		{"case of the name", "/?Tab=42", "tab", missing},
		{"longer name", "/?atab=1&tabs=2", "tab", missing},
		{"shorter name", "/?ta=1&=2&tab=3", "tab", "3"},
		{"no query", "/tab=42", "tab", missing},
		{"empty query", "/?", "tab", missing},
		{"only separators", "/?&&=&", "tab", missing},
		{"empty path", "", "tab", missing},
	} {
		t.Run(test.about, func(t *testing.T) {
			testNamed(t, identity.Query, test.name, request{":path": test.path}, test.want)
		})
	}
	t.Run("no path", func(t *testing.T) { testNamed(t, identity.Query, "tab", request{}, missing) })
}

func TestProperty(t *testing.T) {
	for _, test := range []struct {
		about string
		req   request
		want  string
	}{
		{"text", request{property("connection", "uri_san"): "spiffe://a/b"}, "spiffe://a/b"},
		{"bytes that are not UTF-8", request{property("connection", "uri_san"): "\x00\xff"}, "\x00\xff"},
		{"missing", request{property("connection"): "x", property("uri_san"): "x", "uri_san": "x"}, missing},
		{"empty", request{property("connection", "uri_san"): ""}, missing},
	} {
		t.Run(test.about, func(t *testing.T) {
			testSource(t, identity.Source{Kind: identity.Property, Path: []string{"connection", "uri_san"}}, test.req, test.want)
		})
	}
	t.Run("no path", func(t *testing.T) {
		testSource(t, identity.Source{Kind: identity.Property, Name: "id"}, request{"id": "x", property("id"): "x"}, missing)
	})
}

// testNamed is testSource for a source of this kind and name.
func testNamed(t *testing.T, kind identity.Kind, name string, req request, want string) {
	t.Helper()
	testSource(t, identity.Source{Kind: kind, Name: name}, req, want)
}

// testSource checks the value of one source; want may be missing.
func testSource(t *testing.T, source identity.Source, req request, want string) {
	t.Helper()
	got, ok := readSource(t, source, req)
	if !ok {
		got = missing
	}
	if got != want {
		t.Errorf("%v %q %q of %q: got %q, want %q", source.Kind, source.Name, source.Path, req, got, want)
	}
}

func TestKeyOfSeveralSources(t *testing.T) {
	sources := identity.Sources{
		{Kind: identity.Header, Name: "x-user"},
		{Kind: identity.Cookie, Name: "sid"},
		{Kind: identity.Query, Name: "tab"},
		{Kind: identity.JWTClaim, Name: "payload", Path: []string{"sub"}},
		{Kind: identity.Property, Path: []string{"connection", "requested_server_name"}},
		{Kind: identity.SourceAddress},
	}
	req := request{
		"x-user": "ann", "cookie": "sid=s1", ":path": "/e?tab=%31",
		property("metadata"):                            verified(object{"sub": 7.0}),
		property("connection", "requested_server_name"): "a.example",
		property("source", "address"):                   "10.0.0.1:443",
	}

	key, missing := sources.Append([]byte("rule:"), req)
	if want := "rule:\x03ann\x02s1\x011\x017\x09a.example\x0810.0.0.1"; missing != identity.Complete || string(key) != want {
		t.Errorf("got %q, missing %d, want %q", key, missing, want)
	}
	for i, name := range []string{"x-user", "cookie", ":path",
		property("metadata"), property("connection", "requested_server_name"), property("source", "address")} {
		incomplete := maps.Clone(req)
		delete(incomplete, name)
		if key, missing := sources.Append([]byte("rule:"), incomplete); missing != i || string(key) != "rule:" {
			t.Errorf("without %s: got %q, missing %d, want dst as it was and missing %d", name, key, missing, i)
		}
		if i > 0 {
			delete(incomplete, "x-user")
			if _, missing := sources.Append(nil, incomplete); missing != 0 {
				t.Errorf("without x-user and %s: got missing %d, want the first", name, missing)
			}
		}
	}
}

func TestNoSources(t *testing.T) {
	for _, sources := range []identity.Sources{nil, {{}}, {{Kind: 9, Name: "x"}}} {
		if key, missing := sources.Append(nil, request{"x": "1", "": "1"}); missing != 0 || len(key) != 0 {
			t.Errorf("%v: got %q, missing %d, want no key", sources, key, missing)
		}
	}
}

func TestKeyTellsWhereValuesEnd(t *testing.T) {
	sources := identity.Sources{{Kind: identity.Header, Name: "a"}, {Kind: identity.Header, Name: "b"}}
	left, _ := sources.Append(nil, request{"a": "a", "b": "bc"})
	right, _ := sources.Append(nil, request{"a": "ab", "b": "c"})
	if string(left) == string(right) {
		t.Errorf("different values have the same key %q", left)
	}
}

// All values can be read back from the key. So different values have different keys.
func TestKeyIsInjective(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		values := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 200), 1, 8).Draw(rt, "values")
		req := request{}
		var sources identity.Sources
		var want []string
		for i, value := range values {
			name := string(rune('a' + i))
			req[name] = string(value)
			sources = append(sources, identity.Source{Kind: identity.Header, Name: name})
			want = append(want, string(value))
		}
		key, missing := sources.Append(nil, req)
		if got := split(t, key); missing != identity.Complete || !slices.Equal(got, want) {
			rt.Fatalf("key %q has the values %q, want %q", key, got, want)
		}
	})
}

// A value that several sources need is read once. A value that none needs is not read.
func TestSharedValuesAreReadOnce(t *testing.T) {
	req := &counting{
		request: request{"cookie": "a=1; b=2", ":path": "/?c=3&d=4", property("metadata"): verified(object{"e": "5", "f": "6"})},
		reads:   map[string]int{},
	}
	sources := identity.Sources{
		{Kind: identity.Cookie, Name: "a"}, {Kind: identity.Query, Name: "c"}, {Kind: identity.JWTClaim, Name: "payload", Path: []string{"e"}},
		{Kind: identity.Cookie, Name: "b"}, {Kind: identity.Query, Name: "d"}, {Kind: identity.JWTClaim, Name: "payload", Path: []string{"f"}},
	}
	if _, missing := sources.Append(nil, req); missing != identity.Complete {
		t.Fatal("no key")
	}
	if want := map[string]int{"cookie": 1, ":path": 1, property("metadata"): 1}; !maps.Equal(req.reads, want) {
		t.Errorf("read %v, want %v", req.reads, want)
	}
}

// Cookies and parameters are found in one pass for all sources. Each has the value that it has
// alone.
func TestSourcesTogetherAreAsAlone(t *testing.T) {
	names := []string{"a", "b", "aa", "a+", "%61"}
	text := rapid.StringOfN(rapid.SampledFrom([]rune(`ab+%61=;&? "`)), 0, 40, -1)
	rapid.Check(t, func(rt *rapid.T) {
		req := request{"cookie": text.Draw(rt, "cookie"), ":path": "/?" + text.Draw(rt, "query")}
		var sources identity.Sources
		var want []byte
		for range rapid.IntRange(1, identity.MaxSources).Draw(rt, "sources") {
			s := identity.Source{
				Kind: rapid.SampledFrom([]identity.Kind{identity.Cookie, identity.Query}).Draw(rt, "kind"),
				Name: rapid.SampledFrom(names).Draw(rt, "name"),
			}
			if alone, missing := (identity.Sources{s}).Append(nil, req); missing == identity.Complete { // otherwise it hides the others
				sources, want = append(sources, s), append(want, alone...)
			}
		}
		if got, missing := sources.Append(nil, req); string(got) != string(want) || (missing == identity.Complete) != (len(sources) > 0) {
			rt.Errorf("%v of %q: got %q, want %q", sources, req, got, want)
		}
	})
}

func TestTooManySources(t *testing.T) {
	for n := identity.MaxSources; n <= identity.MaxSources+1; n++ {
		sources := slices.Repeat(identity.Sources{{Kind: identity.Cookie, Name: "a"}}, n)
		if _, missing := sources.Append(nil, request{"cookie": "a=1"}); (missing == identity.Complete) != (n == identity.MaxSources) {
			t.Errorf("%d sources: missing %d", n, missing)
		}
	}
}

// JWTClaim, Property and SourceAddress never read a header, even if a header has the same name.
func TestVerifiedSourcesReadNoHeader(t *testing.T) {
	req := &counting{
		request: request{
			"x-forwarded-for": "10.0.0.1", "authorization": "Bearer e30.eyJzdWIiOiJhbm4ifQ.", "cookie": "sub=ann", ":path": "/?sub=ann",
			"sub": "ann", "metadata": "ann", "source": "10.0.0.1:1", "address": "10.0.0.1:1", "payload": "ann",
		},
		reads: map[string]int{},
	}
	for _, source := range []identity.Source{
		{Kind: identity.JWTClaim, Name: "payload", Path: []string{"sub"}},
		{Kind: identity.Property, Path: []string{"sub"}},
		{Kind: identity.SourceAddress},
	} {
		if key, missing := (identity.Sources{source}).Append(nil, req); missing != 0 {
			t.Errorf("%v: got %q, want no key", source.Kind, key)
		}
	}
	for name := range req.reads {
		if !strings.HasPrefix(name, property("")) {
			t.Errorf("header %q was read", name)
		}
	}
}

// counting is a request that counts how often each header and property is read.
type counting struct {
	request
	reads map[string]int
}

func (c *counting) Header(name string) (string, bool) {
	c.reads[name]++
	return c.request.Header(name)
}

func (c *counting) Property(path ...string) (string, bool) {
	c.reads[property(path...)]++
	return c.request.Property(path...)
}

func TestKindString(t *testing.T) {
	for kind, want := range map[identity.Kind]string{
		identity.Header: "header", identity.Cookie: "cookie", identity.Query: "query",
		identity.JWTClaim: "jwt_claim", identity.Property: "property", identity.SourceAddress: "source_address", 0: "Kind(0)",
	} {
		if got := kind.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

var threeSources = identity.Sources{
	{Kind: identity.Header, Name: "x-user"},
	{Kind: identity.Cookie, Name: "sid"},
	{Kind: identity.Query, Name: "tab"},
}

var browser = request{
	"x-user": "ann",
	"cookie": "theme=dark; _ga=GA1.2.3; sid=5f0c7a1e9b; lang=de",
	":path":  "/events?topic=news&tab=8b1f%2D44",
}

func TestAppendAllocatesNothing(t *testing.T) {
	buffer := make([]byte, 0, 256)
	invalid := request{"x-user": "ann", "cookie": "sid=1", ":path": "/?tab=%"}
	for _, req := range []request{browser, invalid} {
		allocs := testing.AllocsPerRun(100, func() { threeSources.Append(buffer, req) })
		if allocs != 0 {
			t.Errorf("%q: Append allocates %v times, want 0", req, allocs)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	b.Run("three sources of a browser", func(b *testing.B) {
		buffer := make([]byte, 0, 256)
		b.ReportAllocs()
		for b.Loop() {
			threeSources.Append(buffer, browser)
		}
	})
	b.Run("64 KiB of parameters", func(b *testing.B) {
		tab := identity.Sources{{Kind: identity.Query, Name: "tab"}}
		req := request{":path": "/?" + strings.Repeat("ta%62s=1&", 64<<10/9) + "tab=1"}
		buffer := make([]byte, 0, 256)
		b.SetBytes(int64(len(req[":path"])))
		for b.Loop() {
			tab.Append(buffer, req)
		}
	})
}
