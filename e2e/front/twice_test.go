package front

import (
	"fmt"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// A request passes two filters with the same vm_id and the same rule, as when a listener's filter
// and a gateway's are both there. It counts once: it does not supersede or refuse itself.
func TestTwoFiltersOfOneChain(t *testing.T) {
	t.Parallel()
	for _, onDuplicate := range []string{"reset_previous", "reject_new"} {
		for _, claimAt := range []string{"response", "request"} {
			t.Run(onDuplicate+", claimed at the "+claimAt, func(t *testing.T) {
				t.Parallel()
				rules := fmt.Sprintf(`{"rules": [{"name": "twice", "match": {"path": {"prefix": "/twice/"}}, "client": [{"query": "client"}], "on_duplicate": %q, "claim_at": %q}]}`,
					onDuplicate, claimAt)
				const router = "          - name: envoy.filters.http.router\n"
				second := rig.Replace(router, `          - name: second
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                name: second
                failure_policy: FAIL_RELOAD
                vm_config: *streamlatch
                configuration:
                  "@type": type.googleapis.com/google.protobuf.StringValue
                  value: '`+strings.ReplaceAll(rules, "'", "''")+`'
`+router)
				r := rigtest.Start(t, rig.Options{Concurrency: 2, Filter: rules, Edits: []rig.Edit{second}})
				rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
					for worker := range 2 {
						had, client := rigtest.CountsOf(rigtest.Metrics(t, r), "twice"), rigtest.NewClient()
						old := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get("twice", client))
						rigtest.WantFlow(t, r, old)
						if onDuplicate == "reject_new" {
							if got := rigtest.Do(t, rigtest.Dial(t, r, p, worker), rigtest.Get("twice", client)); got.Status == 200 && got.Body == "" {
								t.Errorf("a second stream: %+v, want a refusal", got)
							}
							old.Close()
							rigtest.WantCountsSince(t, r, "twice", had, rigtest.Counts{Opened: 1, Released: 1})
							continue
						}
						newer := rigtest.Open(t, rigtest.Dial(t, r, p, worker), rigtest.Get("twice", client))
						rigtest.WantEnd(t, old, rig.Reset)
						rigtest.WantFlow(t, r, newer)
						rigtest.WantLive(t, r, client, newer)
						newer.Close()
						rigtest.WantCountsSince(t, r, "twice", had, rigtest.Counts{Opened: 2, Superseded: 1, Released: 1})
					}
				})
			})
		}
	}
}
