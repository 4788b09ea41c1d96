package session

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/streamlatch/streamlatch/filter/admin"
	"github.com/streamlatch/streamlatch/filter/identity"
)

// administer answers a request for the admin path, at once or when the fleet has answered.
func (w *Worker) administer(request Request, path string, context uint32) {
	method, _ := request.Header(":method")
	asked, fault := admin.Parse(w.config.AdminPath, method, path)
	if fromPage(request) {
		fault = &admin.Fault{Status: 403, Message: "the admin path answers no web page: remove the origin or sec-fetch-site header"}
	}
	var body []byte
	if fault == nil {
		if asked.Dismiss && w.fleet != nil {
			w.fleet.dismiss(asked, context)
			return
		}
		var err error
		if body, fault, err = w.serve(asked, request); err != nil {
			w.warn(err)
			fault = &admin.Fault{Status: 503, Message: "failed: " + err.Error()}
		}
	}
	w.answer(body, fault)
}

// answer answers an operator.
func (w *Worker) answer(body []byte, fault *admin.Fault) {
	status := uint32(200)
	headers := [][2]string{{"content-type", "application/json"}, {"cache-control", "no-store"}}
	if fault != nil {
		status, body = fault.Status, fault.AppendJSON(nil)
		if fault.Allow != "" {
			headers = append(headers, [2]string{"allow", fault.Allow})
		}
	}
	w.warn(w.host.Reply(status, headers, body))
}

// fromPage reports whether a web page sent the request. An operator's browser can be led to the
// admin path by a page that it shows, even by one whose name resolves to this machine (DNS
// rebinding), so that to the browser it is the same origin. Only what the operator typed is "none".
func fromPage(request Request) bool {
	_, origin := request.Header("origin")
	site, fetched := request.Header("sec-fetch-site")
	return origin || fetched && site != "none"
}

// serve does what is asked and returns the body of the answer.
func (w *Worker) serve(asked admin.Request, request Request) ([]byte, *admin.Fault, error) {
	if err := w.registry.Open(); err != nil {
		return nil, nil, err
	}
	if asked.Dismiss {
		n, fault, err := w.dismiss(asked)
		w.logDismissed(asked, n)
		if fault != nil || err != nil {
			return nil, fault, err
		}
		body, fault := w.dismissed(n)
		return body, fault, nil
	}
	status, err := w.status(request)
	if err != nil {
		return nil, nil, err
	}
	return status.AppendJSON(nil), nil, nil
}

// status is what the admin path shows of this Envoy.
func (w *Worker) status(request Request) (*admin.Status, error) {
	registered, err := w.registry.Rules()
	if err != nil {
		return nil, err
	}
	workers, err := w.registry.Workers()
	if err != nil {
		return nil, err
	}
	status := &admin.Status{Version: w.version, Config: w.config.String(), Now: w.host.Now()}
	status.VMID, _ = request.Property("plugin_vm_id")
	rules := w.configured()
	for _, name := range registered {
		if _, configured := rules[name]; !configured {
			rules[name] = nil
		}
	}
	for name, sources := range rules {
		status.Rules = append(status.Rules, w.show(name, sources))
	}
	slices.SortFunc(status.Rules, func(a, b admin.Rule) int { return cmp.Compare(a.Name, b.Name) })
	for _, slot := range workers {
		status.Workers = append(status.Workers, admin.Worker{Slot: slot.Number, Streams: slot.Live, BeatAt: slot.BeatAt, Fleet: slot.Report})
	}
	return status, nil
}

// shownRule are the metrics of a rule that the status shows. The rule may be another listener's.
type shownRule struct {
	active, matched, opened, noKey Metric
	noKeyLater                     []Metric
}

// show returns what all workers have counted for a rule.
func (w *Worker) show(name string, sources []string) admin.Rule {
	m := w.shown[name]
	if m == nil || len(m.noKeyLater) < len(sources)-1 {
		m = &shownRule{
			active:  w.otherActive(w.registry.Table().Rule(name), name),
			matched: w.define(Counter, metricPrefix+name+".matched"),
			opened:  w.define(Counter, metricPrefix+name+".opened"),
		}
		m.noKey, m.noKeyLater = w.defineNoKey(name, len(sources))
		w.shown[name] = m
	}
	value := func(m Metric) uint64 {
		n, err := w.host.Value(m)
		w.warn(err)
		return n
	}
	rule := admin.Rule{
		Name:    name,
		Active:  uint64(max(0, int64(value(m.active)))),
		Matched: value(m.matched),
		Tracked: value(m.opened),
		NoKey:   value(m.noKey),
	}
	rest := rule.NoKey
	counts := make([]uint64, len(sources))
	for i := len(sources) - 1; i > 0; i-- {
		counts[i] = value(m.noKeyLater[i-1])
		rest -= min(rest, counts[i])
	}
	for i, source := range sources {
		if i == 0 {
			counts[i] = rest
		}
		if counts[i] > 0 {
			rule.Missing = append(rule.Missing, admin.Missing{Source: source, Requests: counts[i]})
		}
	}
	return rule
}

// dismiss ends the streams that a client has in this Envoy, and returns how many they were.
func (w *Worker) dismiss(asked admin.Request) (n int, fault *admin.Fault, err error) {
	rules, err := w.registry.Rules()
	if err != nil {
		return 0, nil, err
	}
	if rules[w.registry.Table().Rule(asked.Rule)] != asked.Rule {
		return 0, &admin.Fault{Status: 404, Message: fmt.Sprintf("no rule %q has had a stream", asked.Rule)}, nil
	}
	key, _ := identity.AppendKey(nil, asked.Parts...)
	client := w.registry.Table().Client(asked.Rule, key)
	n, err = w.registry.Dismiss(w.host.Now(), client, w.registry.Table().Rule(asked.Rule))
	return n, nil, err
}

// logDismissed logs that an operator has ended streams, in a fleet those at all Envoys.
func (w *Worker) logDismissed(asked admin.Request, n int) {
	if n > 0 {
		key, _ := identity.AppendKey(nil, asked.Parts...)
		client := w.registry.Table().Client(asked.Rule, key)
		w.host.Log(Info, fmt.Sprintf("dismissed rule=%s client=%s streams=%d", asked.Rule, client.Short(), n))
	}
}

// dismissed says how many streams were dismissed.
func (w *Worker) dismissed(n int) ([]byte, *admin.Fault) {
	if n == 0 {
		return nil, &admin.Fault{Status: 404, Message: "this client has no stream"}
	}
	return fmt.Appendf(nil, "{\"streams\":%d}\n", n), nil
}
