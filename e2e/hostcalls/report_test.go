package hostcalls

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

var wantReport = flag.Bool("report", false, "print what the test host and Envoy agree about")

// TestMain prints the report when all dialogues have been played.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if *wantReport {
		fmt.Print(report())
	}
	os.Exit(code)
}

// A score is what became of the dialogues of one test.
type score struct {
	group            string
	dialogues, lines int // lines of the guest's log: a callback, or a hostcall with its result
	differ           int // lines that are not the same on both
}

var scores scoreboard

// A scoreboard keeps the score of each test, and the dialogues that have been played.
type scoreboard struct {
	sync.Mutex
	all    []*score
	played map[string]bool // whether Envoy and the test host agree, by "group/dialogue"
}

// count adds a dialogue.
func (b *scoreboard) count(group, dialogue string, envoy, host []string) {
	b.Lock()
	defer b.Unlock()
	i := slices.IndexFunc(b.all, func(s *score) bool { return s.group == group })
	if i < 0 {
		i = len(b.all)
		b.all = append(b.all, &score{group: group})
	}
	s := b.all[i]
	s.dialogues++
	s.lines += max(len(envoy), len(host))
	differ := 0
	for line := range max(len(envoy), len(host)) {
		if line >= len(envoy) || line >= len(host) || envoy[line] != host[line] {
			differ++
		}
	}
	s.differ += differ
	if b.played == nil {
		b.played = make(map[string]bool)
	}
	b.played[group+"/"+dialogue] = differ == 0
}

// notObservable are rules of host/ENVOY.md that no dialogue can show, and why.
var notObservable = [][2]string{
	{"compress", "the bytes of zlib differ between compressors; that they uncompress is compared"},
	{"sign with ECDSA", "each signature is different"},
	{"times, addresses, ids and the node", "they differ from run to run; that an attribute is there is compared"},
	{"expr_create, expr_evaluate, expr_delete", "the test host has no CEL: Unimplemented, and an error in the log"},
	{"a second shared-data counter, a wrap of cas", "it takes 2^32 writes"},
	{"queues and shared data between workers", "Envoy cannot be stopped between two hostcalls; their rules are tests of package host"},
}

func report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nThe test host beside Envoy %s, measured %s.\n\n", host.Envoy.Version, host.Envoy.Measured.Format(time.DateOnly))
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "group\tdialogues\tlines\tagree\tdiffer")
	total := score{group: "all"}
	slices.SortFunc(scores.all, func(a, b *score) int { return cmp.Compare(a.group, b.group) })
	for _, s := range append(scores.all, &total) {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\n", s.group, s.dialogues, s.lines, s.lines-s.differ, s.differ)
		total.dialogues, total.lines, total.differ = total.dialogues+s.dialogues, total.lines+s.lines, total.differ+s.differ
	}
	w.Flush()
	b.WriteString("\nNot observable in a dialogue:\n")
	for _, n := range notObservable {
		fmt.Fprintf(&b, "  %s: %s\n", n[0], n[1])
	}
	return b.String()
}
