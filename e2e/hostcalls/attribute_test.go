package hostcalls

import (
	"slices"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/host"
)

// attributes are all attributes of Envoy's documentation, and those that are older.
var attributes = strings.Fields(`
	request request/path request/url_path request/host request/scheme request/method request/headers request/headers/x-q request/referer
	request/useragent request/time request/id request/protocol request/query request/duration request/size request/total_size
	request/headers_bytes request/nope
	response response/code response/code_details response/flags response/grpc_status response/headers response/headers/x-r
	response/trailers response/trailers/x-t response/size response/total_size response/headers_bytes response/backend_latency response/nope
	source source/address source/port destination destination/address destination/port
	connection connection/id connection/mtls connection/requested_server_name connection/tls_version connection/subject_local_certificate
	connection/subject_peer_certificate connection/dns_san_local_certificate connection/dns_san_peer_certificate
	connection/uri_san_local_certificate connection/uri_san_peer_certificate connection/sha256_peer_certificate_digest
	connection/termination_details connection/transport_failure_reason connection/peer_certificate connection_id
	upstream upstream/address upstream/port upstream/tls_version upstream/subject_local_certificate upstream/subject_peer_certificate
	upstream/dns_san_local_certificate upstream/dns_san_peer_certificate upstream/uri_san_local_certificate
	upstream/uri_san_peer_certificate upstream/sha256_peer_certificate_digest upstream/local_address upstream/locality
	upstream/transport_failure_reason upstream/request_attempt_count upstream/cx_pool_ready_duration upstream/num_endpoints
	metadata metadata/filter_metadata metadata/filter_metadata/nope metadata/typed_filter_metadata filter_state filter_state/nope
	upstream_filter_state upstream_filter_state/nope
	xds xds/node xds/node/id xds/cluster_name xds/cluster_metadata xds/listener_direction xds/listener_metadata xds/route_name xds/route_metadata
	xds/upstream_host_metadata xds/filter_chain_name xds/virtual_host_name xds/virtual_host_metadata xds/upstream_host_locality_metadata
	plugin_name plugin_root_id plugin_vm_id
	node node/id node/cluster node/metadata cluster_name cluster_metadata listener_direction listener_metadata route_name route_metadata
	upstream_host_metadata nope nope/nope`)

// differing are attributes whose values are those of the machine, of the build or of the moment.
var differing = strings.Fields(`
	request/time request/id request/duration response/backend_latency upstream/cx_pool_ready_duration
	source/address source/port destination/address destination/port upstream/address upstream/port upstream/local_address
	connection/id connection_id xds/node xds/cluster_name request/host request/headers request/headers_bytes request/total_size request/useragent
	response/headers response/headers_bytes response/total_size`)

// withoutDiffering removes the values of such attributes. That they are there remains.
func withoutDiffering(lines []string) []string {
	for i, line := range lines {
		path, _, found := strings.Cut(strings.TrimPrefix(line, "property "), " -> Ok ")
		if found && slices.Contains(differing, path) {
			lines[i] = "property " + path + " -> Ok"
		}
	}
	return lines
}

func TestAttributes(t *testing.T) {
	script := ""
	for _, a := range attributes {
		script += "property " + a + "; "
	}
	dialogues := []dialogue{
		{name: "in the plugin", scripts: []string{"request-headers", "httpcall backend 0 _ :path=/ :method=GET :authority=a; return 1",
			"plugin-http-call-response", script + "effective $id; continue 0"}},
		{name: "two values", scripts: []string{"request-headers", "property request/headers/x-q; property request/headers/X-Q; property request/headers/x-q/x; property request/path/x"},
			headers: host.Headers{{Name: "x-q", Value: "1"}, {Name: "x-q", Value: "2"}}},
		{name: "a NUL at the end", scripts: []string{"request-headers", "property request/path/; property request/path//; property /; property request/; property plugin_name/; property plugin_name/x"}},
		{name: "a reply of the filter", scripts: []string{"request-headers", "reply 429 det busy", "response-headers", script, "log", script}},
		{name: "a reset by the filter", scripts: []string{"request-headers", "close 0", "log", script}},
		{name: "a reset in the response", scripts: []string{"response-headers", "close 1", "log", script}},
	}
	for _, phase := range []string{"request-headers", "request-body", "request-trailers", "response-headers", "response-body", "response-trailers", "log", "done", "delete"} {
		dialogues = append(dialogues, dialogue{name: phase, scripts: []string{phase, script}, headers: host.Headers{{Name: "x-q", Value: "1"}}})
	}
	for i := range dialogues {
		dialogues[i].headers = append(dialogues[i].headers, host.Header{Name: "user-agent", Value: "x"}, host.Header{Name: "x-request-id", Value: "x"})
	}
	compare(t, dialogues)
}
