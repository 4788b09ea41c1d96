package hostcalls

import (
	"slices"
	"strings"
	"testing"
)

// The lines of all VMs while they start: of the canary, of the main thread, and of a worker.
func TestStart(t *testing.T) {
	const (
		maps   = "header 0 x; add 0 x y; pairs 2; mapsize 0; setpairs 0 a=b; header 8 x; body 0 0 9; bodystatus 1; setbody 1 0 0 x; body 9 0 9"
		config = "body 6 0 99; body 7 0 99; body 7 1 1; setbody 7 0 0 x; bodystatus 7"
		rest   = "property plugin_root_id; property plugin_vm_id; property xds/node/id; property request/path; setproperty a b; loglevel; status; " +
			"close 0; continue 0; reply 200 _ _; done; effective 1; effective 2; effective 0; foreign nope _"
		shared = "get k; set k $ 0; get k; register q; resolve _ q; enqueue $ a; dequeue $; define 1 g; increment $ 1; metric $"
	)
	for _, d := range []struct{ name, plugin string }{
		{"each VM starts the plugin", "configure: say done"},
		{"what a start can reach", "vm-start: " + maps + "\\nconfigure: " + config + "; " + maps},
		{"hostcalls of a start", "configure: " + rest},
		{"what the VMs share", "configure: " + shared},
	} {
		t.Run(d.name, func(t *testing.T) {
			from := setup{plugin: d.plugin, vm: config}
			world := newHostStage(t, setup{plugin: strings.ReplaceAll(d.plugin, "\\n", "\n"), vm: config}).world
			world.Run()
			want := messages(world.Logs())
			got := guestLog(newEnvoyStage(t, from).rig)
			scores.count(groupOf(t), d.name, got, want)
			if !slices.Equal(got, want) {
				t.Error(differences(got, want))
			}
		})
	}
}

// A guest of ABI 0.1.0.
func TestABI010(t *testing.T) {
	compareWith(t, setup{tags: []string{"abi010"}, plugin: "configure: configuration"}, []dialogue{
		dialogueOf("a header that is not there", "request-headers", "header 0 nope; header 2 x; header 9 x; configuration", "log", "header 0 nope; header 3 x"),
		stepsOf("headers stop, and continue_request", "body one; other continue 0; end"+answer, "request-headers", "return 1"),
		stepsOf("headers stop, and continue_response", "end; respond 200 x-r=1; data one; other continue 1; finish", "response-headers", "return 1"),
		dialogueOf("clear_route_cache", "request-headers", "clearroute", "response-headers", "clearroute", "log", "clearroute"),
		dialogueOf("a local reply", "request-headers", "reply 403 det no"),
	})
}

// WASI, as Envoy has it.
func TestWASI(t *testing.T) {
	compare(t, []dialogue{
		dialogueOf("standard output", "request-headers", "write 1 hello; write 1 a b c; write 1; write 1 _; write 3 x; write 0 x; write 99 x"),
		dialogueOf("no time, no sleep", "request-headers", "poll"),
		dialogueOf("it exits and goes on", "request-headers", "exit; say here"),
		dialogueOf("too many random bytes", "request-headers", "random 65537"),
		dialogueOf("the environment is empty", "request-headers", "environ"),
	})
}

// VMs that fail.
func TestFailure(t *testing.T) {
	compare(t, []dialogue{
		stepsOf("others of the VM are cut at their next callback", "body one; other panic ouch; body two", "request-body", "body 0 0 9"),
		stepsOf("later streams get 503", "end"),
		stepsOf("also with a body", "body one; end"),
	})
}
