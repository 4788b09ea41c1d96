package config_test

import (
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/streamlatch/streamlatch/filter/config"
)

// asStruct returns a configuration as Envoy passes it on if it was given as a Struct.
func asStruct(t testing.TB, document string) []byte {
	t.Helper()
	var s structpb.Struct
	if err := s.UnmarshalJSON([]byte(document)); err != nil {
		t.Fatal(err)
	}
	data, err := proto.Marshal(&s)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A Struct has the same meaning as the same JSON.
func TestStruct(t *testing.T) {
	for _, document := range []string{complete, minimal, `{"rules": [], "admin_path": "/a"}`} {
		want := parse(t, document)
		got, err := config.Parse(asStruct(t, document))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("as a Struct\n got %v\nwant %v", got, want)
		}
	}
}

// A Struct has the same faults as the same JSON, but in the order of the names.
func TestFaultsOfStruct(t *testing.T) {
	_, err := config.Parse(asStruct(t, `{"rules": [{"name": "A", "max_streams": 1.5, "client": [{"query": null}], "mode": true, "retries": 1,
		"takeover_limit": true, "retry": 15, "instance": [{"source_address": false}, {"property": [1]}, {"jwt_claim": {"claim": 2.5}}]}],
		"max_total_streams": 1e8, "admin_path": "/"}`))
	want := []string{
		`admin_path: found "/", want "" or a path such as`,
		"max_total_streams: found 1e+08, want a whole number from 0 to 10000000",
		"rules[0].client[0].query: found null, want the name of a query parameter",
		"rules[0].instance[0].source_address: found false, want true",
		`rules[0].instance[1].property[0]: found 1, want a part`,
		`rules[0].instance[2].jwt_claim.claim: found 2.5, want the name of a claim`,
		`rules[0].instance[2].jwt_claim.metadata_key: missing`,
		"rules[0].max_streams: found 1.5, want a whole number from 1 to 64",
		`rules[0].mode: found true, want "enforce" or "observe"`,
		`rules[0].name: found "A", want [a-z][a-z0-9_]{0,31}`,
		`rules[0]: unknown field "retries"`,
		`rules[0].retry: found 15, want a duration such as`,
		"rules[0].takeover_limit: found true, want an object or false",
	}
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d faults, want %d:\n%v", len(lines), len(want), err)
	}
	for i := range want {
		if !strings.Contains(lines[i], want[i]) {
			t.Errorf("fault %d\n got %s\nwant %s", i, lines[i], want[i])
		}
	}
}

// Data that only begins like a Struct is read as JSON, and is invalid JSON.
func TestNotAStruct(t *testing.T) {
	whole := asStruct(t, minimal)
	deep := asStruct(t, strings.Repeat(`{"a":`, 40)+"1"+strings.Repeat("}", 40))
	for name, data := range map[string][]byte{
		"truncated":                  whole[:len(whole)-1],
		"data after it":              append(append([]byte{}, whole...), 0),
		"an unknown field":           append(append([]byte{}, whole...), 0x12, 0),
		"a member without a value":   {0x0a, 3, 0x0a, 1, 'a'},
		"a truncated number":         {0x0a, 7, 0x0a, 1, 'a', 0x12, 2, 0x11, 0},
		"a truncated tag":            {0x0a, 6, 0x0a, 1, 'a', 0x12, 1, 0xa0},
		"a tag of more than 64 bits": append([]byte{0x0a, 0x0b}, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"...),
		"nested too deep":            deep,
	} {
		_, err := config.Parse(data)
		if err == nil || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%s: got %v, want a syntax error with line and column", name, err)
		}
	}
	// A line feed is also the tag of a member of a Struct.
	if _, err := config.Parse([]byte("\n" + minimal)); err != nil {
		t.Errorf("JSON after a line feed: %v", err)
	}
}
