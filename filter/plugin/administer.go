package plugin

import (
	"sort"
	"strconv"

	"github.com/streamlatch/streamlatch/filter/admin"
	"github.com/streamlatch/streamlatch/filter/identity"
	"github.com/streamlatch/streamlatch/filter/proxywasm"
)

// administer answers a request for the admin path.
func (p *plugin) administer(path string) {
	method, _ := requestHeaders{}.Header(":method")
	request, fault := admin.Parse(p.config.AdminPath, method, path)
	var body []byte
	if fault == nil {
		body, fault = p.serve(request)
	}
	status := uint32(200)
	headers := [][2]string{{"content-type", "application/json"}, {"cache-control", "no-store"}}
	if fault != nil {
		status, body = fault.Status, fault.AppendJSON(nil)
		if fault.Allow != "" {
			headers = append(headers, [2]string{"allow", fault.Allow})
		}
	}
	p.warn(proxywasm.SendResponse(status, headers, body))
}

func (p *plugin) serve(request admin.Request) (body []byte, fault *admin.Fault) {
	body, fault, err := p.ask(request)
	if err != nil {
		p.warn(err)
		return nil, &admin.Fault{Status: 503, Message: "failed: " + err.Error()}
	}
	return body, fault
}

func (p *plugin) ask(request admin.Request) ([]byte, *admin.Fault, error) {
	if err := p.worker.Open(); err != nil {
		return nil, nil, err
	}
	rules, err := p.worker.Rules()
	if err != nil {
		return nil, nil, err
	}
	if !request.Dismiss {
		status := admin.Status{Version: p.version, Config: p.config.String(), Now: proxywasm.NowMs()}
		for id, name := range rules {
			status.Rules = append(status.Rules, admin.Rule{Name: name, Active: uint64(max(0, p.active(id, name).Value()))})
		}
		sort.Sort(byName(status.Rules))
		workers, err := p.worker.Workers()
		if err != nil {
			return nil, nil, err
		}
		for _, w := range workers {
			status.Workers = append(status.Workers, admin.Worker{Slot: w.Number, Streams: w.Live, BeatAt: w.BeatAt})
		}
		return status.AppendJSON(nil), nil, nil
	}

	if rules[p.worker.Table().Rule(request.Rule)] != request.Rule {
		return nil, &admin.Fault{Status: 404, Message: "no rule " + strconv.Quote(request.Rule) + " has had a stream"}, nil
	}
	key, _ := identity.AppendKey(nil, request.Parts...)
	client := p.worker.Table().Client(request.Rule, key)
	n, err := p.worker.Dismiss(proxywasm.NowMs(), client)
	if err != nil {
		return nil, nil, err
	}
	if n == 0 {
		return nil, &admin.Fault{Status: 404, Message: "this client has no stream"}, nil
	}
	proxywasm.LogInfo("dismissed rule=" + request.Rule + " client=" + client.Short() + " streams=" + strconv.Itoa(n))
	return []byte(`{"streams":` + strconv.Itoa(n) + "}\n"), nil, nil
}

// byName is how rules are listed. Package regexp has sort.Sort in the module anyway; slices.SortFunc would be another
// 25 KB.
type byName []admin.Rule

func (r byName) Len() int           { return len(r) }
func (r byName) Less(i, j int) bool { return r[i].Name < r[j].Name }
func (r byName) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
