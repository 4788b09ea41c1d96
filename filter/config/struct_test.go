package config_test

import (
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/streamlatch/streamlatch/filter/config"
)

// asStruct is the configuration as Envoy hands it over if it was given as a Struct.
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

// A Struct means what the same JSON means.
func TestStruct(t *testing.T) {
	for _, document := range []string{everything, least, `{"rules": [], "admin_path": "/a"}`} {
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

// Its faults are those of the same JSON, object by object in the order of the names.
func TestFaultsOfAStruct(t *testing.T) {
	_, err := config.Parse(asStruct(t, `{"rules": [{"name": "A", "max_streams": 1.5, "client": [{"query": null}], "mode": true, "retries": 1,
		"takeover_limit": true, "retry": 15, "instance": [{"source_address": false}, {"property": [1]}, {"jwt_claim": {"claim": 2.5}}]}],
		"max_total_streams": 1e8, "admin_path": "/"}`))
	want := []string{
		`admin_path: found "/", want "" or a path`,
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
		`rules[0].retry: found 15, want a duration`,
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

// What only begins like a Struct is read as JSON, and refused as such.
func TestNotAStruct(t *testing.T) {
	whole := asStruct(t, least)
	deep := asStruct(t, strings.Repeat(`{"a":`, 40)+"1"+strings.Repeat("}", 40))
	for name, data := range map[string][]byte{
		"cut short":            whole[:len(whole)-1],
		"more after it":        append(append([]byte{}, whole...), 0),
		"another field":        append(append([]byte{}, whole...), 0x12, 0),
		"a member of no value": {0x0a, 3, 0x0a, 1, 'a'},
		"a number cut short":   {0x0a, 7, 0x0a, 1, 'a', 0x12, 2, 0x11, 0},
		"a tag cut short":      {0x0a, 6, 0x0a, 1, 'a', 0x12, 1, 0xa0},
		"a tag past 64 bits":   append([]byte{0x0a, 0x0b}, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"...),
		"too deep":             deep,
	} {
		_, err := config.Parse(data)
		if err == nil || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%s: error %v, want JSON's", name, err)
		}
	}
	// JSON that begins with the line feed that is the tag of a Struct's member.
	if _, err := config.Parse([]byte("\n" + least)); err != nil {
		t.Errorf("JSON after a line feed: %v", err)
	}
}
