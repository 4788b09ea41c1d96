package session

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/streamlatch/streamlatch/filter/admin"
	"github.com/streamlatch/streamlatch/filter/identity"
)

// administer answers a request for the admin path.
func (w *Worker) administer(request Request, path string) {
	method, _ := request.Header(":method")
	asked, fault := admin.Parse(w.config.AdminPath, method, path)
	if fromPage(request) {
		fault = &admin.Fault{Status: 403, Message: "the admin path answers no web page: remove the origin or sec-fetch-site header"}
	}
	var body []byte
	if fault == nil {
		var err error
		if body, fault, err = w.serve(asked); err != nil {
			w.warn(err)
			fault = &admin.Fault{Status: 503, Message: "failed: " + err.Error()}
		}
	}
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
func (w *Worker) serve(asked admin.Request) ([]byte, *admin.Fault, error) {
	if err := w.registry.Open(); err != nil {
		return nil, nil, err
	}
	if asked.Dismiss {
		return w.dismiss(asked)
	}
	status, err := w.status()
	if err != nil {
		return nil, nil, err
	}
	return status.AppendJSON(nil), nil, nil
}

// status is what the admin path shows of this Envoy.
func (w *Worker) status() (*admin.Status, error) {
	rules, err := w.registry.Rules()
	if err != nil {
		return nil, err
	}
	workers, err := w.registry.Workers()
	if err != nil {
		return nil, err
	}
	status := &admin.Status{Version: w.version, Config: w.config.String(), Now: w.host.Now()}
	for id, name := range rules {
		active, err := w.host.Value(w.otherActive(id, name))
		w.warn(err)
		status.Rules = append(status.Rules, admin.Rule{Name: name, Active: uint64(max(0, int64(active)))})
	}
	slices.SortFunc(status.Rules, func(a, b admin.Rule) int { return cmp.Compare(a.Name, b.Name) })
	for _, slot := range workers {
		status.Workers = append(status.Workers, admin.Worker{Slot: slot.Number, Streams: slot.Live, BeatAt: slot.BeatAt})
	}
	return status, nil
}

// dismiss ends the streams of one client.
func (w *Worker) dismiss(asked admin.Request) ([]byte, *admin.Fault, error) {
	rules, err := w.registry.Rules()
	if err != nil {
		return nil, nil, err
	}
	if rules[w.registry.Table().Rule(asked.Rule)] != asked.Rule {
		return nil, &admin.Fault{Status: 404, Message: fmt.Sprintf("no rule %q has had a stream", asked.Rule)}, nil
	}
	key, _ := identity.AppendKey(nil, asked.Parts...)
	client := w.registry.Table().Client(asked.Rule, key)
	n, err := w.registry.Dismiss(w.host.Now(), client)
	if err != nil {
		return nil, nil, err
	}
	if n == 0 {
		return nil, &admin.Fault{Status: 404, Message: "this client has no stream"}, nil
	}
	w.host.Log(Info, fmt.Sprintf("dismissed rule=%s client=%s streams=%d", asked.Rule, client.Short(), n))
	return fmt.Appendf(nil, "{\"streams\":%d}\n", n), nil, nil
}
