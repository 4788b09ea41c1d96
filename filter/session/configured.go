package session

import (
	"iter"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/streamlatch/streamlatch/filter/config"
)

// configuredKey is the shared key that holds the rules of every configuration that this Envoy has
// started. The registry knows a rule only from its first stream on; an operator who asks why there
// is none has to see it before.
//
// A rule is a line: its name and the sources of its client, with a tab before each.
const configuredKey = "streamlatch/configured"

// mostConfigured bounds the rules that are stored. Beyond it the oldest are forgotten.
const mostConfigured = 1024

// publish stores the worker's own rules with those of other configurations. If two have a rule of
// the same name, the one that was started last counts.
func (w *Worker) publish() {
	own := make([]string, len(w.rules))
	for i, r := range w.rules {
		own[i] = r.Name
		for _, source := range r.Client {
			own[i] += "\t" + config.SourceString(source)
		}
	}
	w.warn(w.share(configuredKey, func(stored []byte) []byte {
		lines := slices.Collect(linesOf(stored))
		if !slices.ContainsFunc(own, func(line string) bool { return !slices.Contains(lines, line) }) {
			return nil
		}
		lines = slices.DeleteFunc(lines, func(line string) bool {
			return slices.ContainsFunc(w.rules, func(r rule) bool { return strings.HasPrefix(line, r.Name+"\t") })
		})
		lines = append(lines, own...)
		return []byte(strings.Join(lines[max(0, len(lines)-mostConfigured):], "\n"))
	}))
}

// configured returns the stored rules: by name, the sources of their clients, each as JSON. What is
// malformed is left out.
func (w *Worker) configured() map[string][]string {
	rules := map[string][]string{}
	stored, _, err := w.host.Get(configuredKey)
	if err != nil { // nobody has published a rule
		return rules
	}
	for line := range linesOf(stored) {
		fields := strings.Split(line, "\t")
		name, sources := fields[0], fields[1:]
		valid := !slices.ContainsFunc(sources, func(s string) bool { return !jsontext.Value(s).IsValid() })
		if valid && 0 < len(sources) && len(sources) <= 1+len(laterSources) {
			rules[name] = sources
		}
	}
	return rules
}

func linesOf(stored []byte) iter.Seq[string] {
	return strings.FieldsFuncSeq(string(stored), func(r rune) bool { return r == '\n' })
}
