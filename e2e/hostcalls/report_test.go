package hostcalls

import (
	"cmp"
	"errors"
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

// TestMain prints the report when all dialogues have been played, and fails if host/ENVOY.md names
// one that was not.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if *wantReport {
		fmt.Print(report())
	}
	if whole := flag.Lookup("test.run").Value.String() == ""; whole && code == 0 {
		all, err := rules()
		text, missing := scores.ruleReport(all)
		if err = errors.Join(err, missing); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		if *wantReport {
			fmt.Print("\n" + text)
		}
	}
	os.Exit(code)
}

// table aligns rows.
func table(rows [][]string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	w.Flush()
	return b.String()
}

// A score is what became of the dialogues of one test.
type score struct {
	group            string
	dialogues, lines int // lines of the guest's log: a callback, or a hostcall with its result
	differ           int // lines that are not the same on both

	thirdLines, thirdAgree int // lines of Envoy in the dialogues that proxytest can play; those that it has, too
}

var scores scoreboard

// A scoreboard keeps each test's score, and which dialogues were played.
type scoreboard struct {
	sync.Mutex
	all    []*score
	played map[string]bool // whether Envoy and the test host agree, by "group/dialogue"
}

// countThird adds a dialogue of proxytest.
func (b *scoreboard) countThird(group string, envoy, third []string) {
	b.Lock()
	defer b.Unlock()
	envoy, third = withoutDiffering(envoy), withoutDiffering(third)
	s := b.of(group)
	s.thirdLines += len(envoy)
	s.thirdAgree += inCommon(envoy, third)
}

// of returns the score of a group.
func (b *scoreboard) of(group string) *score {
	i := slices.IndexFunc(b.all, func(s *score) bool { return s.group == group })
	if i < 0 {
		i = len(b.all)
		b.all = append(b.all, &score{group: group})
	}
	return b.all[i]
}

// count adds a dialogue.
func (b *scoreboard) count(group, dialogue string, envoy, host []string) {
	b.Lock()
	defer b.Unlock()
	s := b.of(group)
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

func report() string {
	rows := [][]string{{"group", "dialogues", "lines", "agree", "differ", "proxytest: lines", "agree"}}
	total := score{group: "all"}
	slices.SortFunc(scores.all, func(a, b *score) int { return cmp.Compare(a.group, b.group) })
	for _, s := range append(scores.all, &total) {
		rows = append(rows, []string{s.group, fmt.Sprint(s.dialogues), fmt.Sprint(s.lines), fmt.Sprint(s.lines - s.differ), fmt.Sprint(s.differ),
			fmt.Sprint(s.thirdLines), fmt.Sprint(s.thirdAgree)})
		total.thirdLines, total.thirdAgree = total.thirdLines+s.thirdLines, total.thirdAgree+s.thirdAgree
		total.dialogues, total.lines, total.differ = total.dialogues+s.dialogues, total.lines+s.lines, total.differ+s.differ
	}
	return fmt.Sprintf("\nThe test host beside Envoy %s, measured %s.\n\n%s", host.Envoy.Version, host.Envoy.Measured.Format(time.DateOnly), table(rows))
}
