package hostcalls

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A rule is a row of host/ENVOY.md.
type rule struct {
	section, text string
	shown         string // the last column
}

// rules reads the rules about hosts. The sections behind them are about clients and Envoy itself.
// The error names rows without four cells.
func rules() (all []rule, err error) {
	text, err := os.ReadFile("../../host/ENVOY.md")
	page, _, _ := strings.Cut(string(text), "\n## Older Envoys")
	section := ""
	for _, line := range strings.Split(page, "\n") {
		if name, ok := strings.CutPrefix(line, "## "); ok {
			section = name
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if section == "" || !strings.HasPrefix(line, "| ") || cells[0] == "rule" {
			continue
		}
		if len(cells) != 4 {
			err = errors.Join(err, fmt.Errorf("%s: %q has %d cells, want 4", section, cells[0], len(cells)))
			continue
		}
		all = append(all, rule{section: section, text: cells[0], shown: cells[3]})
	}
	return all, err
}

var (
	quoted     = regexp.MustCompile("`([^`]+)`")
	unseen     = regexp.MustCompile("^not observable, because .+")
	onlyQuoted = regexp.MustCompile("^`[^`]+`(,? `[^`]+`)*$")
)

// evidence returns the dialogues, or groups of them, that show the rule, and the tests of other
// packages with a real Envoy, as "e2e/package Test".
func (r rule) evidence() (dialogues, tests []string) {
	folder := ""
	for _, match := range quoted.FindAllStringSubmatch(r.shown, -1) {
		switch name := match[1]; {
		case strings.HasPrefix(name, "e2e/"):
			folder = name
		case folder != "":
			tests = append(tests, folder+" "+name)
		default:
			dialogues = append(dialogues, name)
		}
	}
	return dialogues, tests
}

// Every rule is shown in Envoy, by a dialogue or by a test elsewhere, or says why it cannot be.
// TestMain sees whether the dialogues exist, when they have been played.
func TestEveryRuleIsShown(t *testing.T) {
	all, err := rules()
	if err != nil || len(all) == 0 {
		t.Fatalf("%d rules, %v", len(all), err)
	}
	for _, r := range all {
		if !unseen.MatchString(r.shown) && !onlyQuoted.MatchString(r.shown) {
			t.Errorf("%s: %q is shown by %q, want names of dialogues, or \"not observable, because …\"", r.section, r.text, r.shown)
		}
		_, tests := r.evidence()
		for _, test := range tests {
			folder, name, _ := strings.Cut(test, " ")
			if !hasTest(t, filepath.Join("../..", folder), name) {
				t.Errorf("%s: %q is shown by %s, which is not there", r.section, r.text, test)
			}
		}
	}
}

func hasTest(t *testing.T, folder, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(text), "\nfunc "+name+"(")
	})
}

// wasPlayed reports whether a dialogue, or a group, was played, and whether Envoy and the test host
// agree about it.
func (b *scoreboard) wasPlayed(name string) (played, agree bool) {
	if agree, played = b.played[name]; played {
		return played, agree
	}
	agree = true
	for dialogue, same := range b.played {
		if strings.HasPrefix(dialogue, name+"/") {
			played, agree = true, agree && same
		}
	}
	return played, played && agree
}

// ruleReport counts the rules by section. Its error names the dialogues that were not played.
func (b *scoreboard) ruleReport(all []rule) (text string, err error) {
	type count struct{ rules, agree, differ, elsewhere, unseen int }
	var sections []string
	counts := make(map[string]*count)
	var missing []string
	for _, r := range all {
		c := counts[r.section]
		if c == nil {
			c = &count{}
			counts[r.section] = c
			sections = append(sections, r.section)
		}
		c.rules++
		dialogues, tests := r.evidence()
		agree := true
		for _, name := range dialogues {
			played, same := b.wasPlayed(name)
			if !played {
				missing = append(missing, name)
			}
			agree = agree && same
		}
		switch {
		case unseen.MatchString(r.shown):
			c.unseen++
		case len(dialogues) == 0 && len(tests) > 0:
			c.elsewhere++
		case agree:
			c.agree++
		default:
			c.differ++
		}
	}
	rows := [][]string{{"rules of host/ENVOY.md", "rules", "agree", "differ", "other tests", "not observable"}}
	var total count
	row := func(name string, c count) {
		rows = append(rows, []string{name, fmt.Sprint(c.rules), fmt.Sprint(c.agree), fmt.Sprint(c.differ), fmt.Sprint(c.elsewhere), fmt.Sprint(c.unseen)})
	}
	for _, s := range sections {
		c := *counts[s]
		row(s, c)
		total = count{total.rules + c.rules, total.agree + c.agree, total.differ + c.differ, total.elsewhere + c.elsewhere, total.unseen + c.unseen}
	}
	row("all", total)
	if len(missing) > 0 {
		err = fmt.Errorf("host/ENVOY.md names dialogues that are not there: %q", missing)
	}
	return table(rows), err
}
