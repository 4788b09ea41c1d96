package scenario

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/etcdhost"
	"github.com/streamlatch/streamlatch/host"
)

// fleet is two Envoys under the test host, and a simulated etcd that answers at once. Worker n of a
// scenario is a worker of Envoy n modulo 2.
type fleet struct {
	etcd   *etcdhost.Etcd
	envoys []*wasm
	of     map[string]*wasm // by stream
	opened int
}

type fleetStage struct{ workers int } // of all Envoys together

func newFleetStage(_ *testing.T, workers int, _ []file) stage { return fleetStage{workers} }

func (s fleetStage) play(t *testing.T, f file) system {
	t.Helper()
	m, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	config, err := inFleet(f.config)
	if err != nil {
		t.Fatal(err)
	}
	p := &fleet{etcd: etcdhost.New(t), of: map[string]*wasm{}}
	for range 2 {
		v := p.etcd.Start(m, host.Config{Workers: s.workers / 2, PluginConfig: config})
		p.envoys = append(p.envoys, &wasm{World: v.World, adminPath: f.adminPath(), streams: map[string]*host.Stream{}, settle: p.run})
	}
	return p
}

// inFleet adds a fleet to a configuration.
func inFleet(config []byte) ([]byte, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(config, &all); err != nil {
		return nil, err
	}
	all["fleet"] = fmt.Appendf(nil, `{"clusters": [%q], "secret": "000102030405060708090a0b0c0d0e0f"}`, etcdhost.Cluster)
	return json.Marshal(all)
}

func (p *fleet) patient() bool { return false }

// run lets all happen that happens at once. The backend answers a request as soon as it has it.
func (p *fleet) run() error {
	for did := true; did; {
		p.etcd.Run()
		did = false
		for _, w := range p.envoys {
			n, err := w.answerBackend()
			if err != nil {
				return err
			}
			did = did || n > 0
		}
	}
	return nil
}

// at returns the Envoy of a worker of the scenario, and the worker's number there.
func (p *fleet) at(worker int) (*wasm, int) {
	if worker == anyWorker {
		worker = p.opened
	}
	p.opened++
	n := len(p.envoys)
	w := p.envoys[worker%n]
	return w, worker / n % len(w.Workers())
}

func (p *fleet) open(name string, r request) error {
	w, worker := p.at(r.worker)
	p.of[name] = w
	r.worker = worker
	return w.open(name, r)
}

func (p *fleet) with(name string, do func(*wasm) error) error {
	w := p.of[name]
	if w == nil {
		return fmt.Errorf("no stream %q", name)
	}
	return do(w)
}

func (p *fleet) answer(name string, a answer) error {
	return p.with(name, func(w *wasm) error { return w.answer(name, a) })
}

func (p *fleet) send(name string, chunk []byte) error {
	return p.with(name, func(w *wasm) error { return w.send(name, chunk) })
}

func (p *fleet) finish(name string) error {
	return p.with(name, func(w *wasm) error { return w.finish(name) })
}

func (p *fleet) close(name string) error {
	return p.with(name, func(w *wasm) error { return w.close(name) })
}

func (p *fleet) advance(d time.Duration) error {
	for d > 0 {
		step := min(d, 100*time.Millisecond)
		p.etcd.Advance(step)
		if err := p.run(); err != nil {
			return err
		}
		d -= step
	}
	return nil
}

func (p *fleet) contend(on bool) error {
	for _, w := range p.envoys {
		if err := w.contend(on); err != nil {
			return err
		}
	}
	return nil
}

func (p *fleet) dismiss(worker int, rule string, parts []string) (int, error) {
	w, worker := p.at(worker)
	return w.dismiss(worker, rule, parts)
}

func (p *fleet) seen(name string) (seen, error) { return p.of[name].seen(name) }

func (p *fleet) atBackend(name string) (bool, error) { return p.of[name].atBackend(name) }

// metrics returns the sums over all Envoys.
func (p *fleet) metrics() (map[string]int64, error) {
	sums := map[string]int64{}
	for _, w := range p.envoys {
		m, err := w.metrics()
		if err != nil {
			return nil, err
		}
		for name, value := range m {
			sums[name] += value
		}
	}
	return sums, nil
}
