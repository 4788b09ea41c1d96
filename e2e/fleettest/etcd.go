package fleettest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/wait"
)

// Etcd is a real etcd of one node or several, with its data in folders of the test.
type Etcd struct{ Nodes []*Node }

// Node is one process of an etcd.
type Node struct {
	Address string // host:port for clients

	name, peer, dir string
	all             string // names and addresses of all nodes
	clients         Clients
	process         *exec.Cmd
	output          bytes.Buffer
}

// Clients says how clients reach an etcd. The zero value is HTTP.
type Clients struct {
	TLS  *tls.Config // of this test
	Args []string    // for etcd
}

func (c Clients) scheme() string {
	if c.TLS != nil {
		return "https://"
	}
	return "http://"
}

// StartEtcd starts nodes of the etcd that $ETCD names, or that of the PATH. The end of the test
// stops them.
func StartEtcd(t *testing.T, nodes int) *Etcd {
	t.Helper()
	return StartEtcdFor(t, nodes, Clients{})
}

// StartEtcdFor is like [StartEtcd].
func StartEtcdFor(t *testing.T, nodes int, c Clients) *Etcd {
	t.Helper()
	e := &Etcd{}
	var all []string
	for i := range nodes {
		n := &Node{Address: freeAddress(t), name: fmt.Sprint("node", i), peer: freeAddress(t), dir: t.TempDir(), clients: c}
		all = append(all, n.name+"=http://"+n.peer)
		e.Nodes = append(e.Nodes, n)
	}
	for _, n := range e.Nodes {
		n.all = strings.Join(all, ",")
	}
	t.Cleanup(e.Kill)
	e.Start(t)
	return e
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Ports returns the ports for clients.
func (e *Etcd) Ports(t *testing.T) (ports []int) {
	t.Helper()
	for _, n := range e.Nodes {
		_, port, err := net.SplitHostPort(n.Address)
		if err != nil {
			t.Fatal(err)
		}
		p, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, p)
	}
	return ports
}

// Start starts all nodes with the data that they have.
func (e *Etcd) Start(t *testing.T) {
	t.Helper()
	for _, n := range e.Nodes {
		n.Start(t)
	}
	wait.Until(t, func() error {
		_, err := e.Keys(t.Context(), "")
		return err
	})
}

// Stop makes all nodes stand still.
func (e *Etcd) Stop(t *testing.T) {
	t.Helper()
	for _, n := range e.Nodes {
		n.Stop(t)
	}
}

// GoOn ends Stop.
func (e *Etcd) GoOn(t *testing.T) {
	t.Helper()
	for _, n := range e.Nodes {
		n.GoOn(t)
	}
}

// Kill kills all nodes.
func (e *Etcd) Kill() {
	for _, n := range e.Nodes {
		n.Kill()
	}
}

// Forget deletes the data of all nodes. They must not run.
func (e *Etcd) Forget(t *testing.T) {
	t.Helper()
	for _, n := range e.Nodes {
		if err := os.RemoveAll(n.dir); err != nil {
			t.Fatal(err)
		}
	}
}

// Leader returns the node that leads.
func (e *Etcd) Leader(t *testing.T) (leader *Node) {
	t.Helper()
	wait.Until(t, func() error {
		for _, n := range e.Nodes {
			var answer struct {
				Header struct {
					Member string `json:"member_id"`
				}
				Leader string
			}
			if n.ask(t.Context(), "maintenance/status", map[string]any{}, &answer) == nil && answer.Leader == answer.Header.Member {
				leader = n
				return nil
			}
		}
		return errors.New("no node of etcd leads")
	})
	return leader
}

// Start starts the node with the data that it has.
func (n *Node) Start(t *testing.T) {
	t.Helper()
	client, peer := n.clients.scheme()+n.Address, "http://"+n.peer
	n.process = exec.Command(cmp.Or(os.Getenv("ETCD"), "etcd"), append([]string{
		"--name", n.name, "--data-dir", n.dir, "--log-level", "error",
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", n.all}, n.clients.Args...)...)
	n.process.Stdout, n.process.Stderr = &n.output, &n.output
	if err := n.process.Start(); err != nil {
		t.Fatalf("start etcd, of Debian's package etcd-server or as $ETCD names it: %v", err)
	}
}

// Stop suspends the node. It returns when none of its threads runs any more: until then, the node
// may still answer.
func (n *Node) Stop(t *testing.T) {
	t.Helper()
	n.signal(t, syscall.SIGSTOP)
	wait.Until(t, func() error {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", n.process.Process.Pid))
		for _, path := range stats {
			var stat []byte
			if stat, err = os.ReadFile(path); err != nil {
				break
			}
			if _, state, _ := bytes.Cut(stat, []byte(") ")); !bytes.HasPrefix(state, []byte("T")) {
				return fmt.Errorf("etcd still runs: %s", stat)
			}
		}
		return err
	})
}

// GoOn ends Stop.
func (n *Node) GoOn(t *testing.T) {
	t.Helper()
	n.signal(t, syscall.SIGCONT)
}

func (n *Node) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := n.process.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// Kill kills the node, if it runs.
func (n *Node) Kill() {
	if n.process != nil && n.process.Process != nil {
		_ = n.process.Process.Kill()
		_ = n.process.Wait()
		n.process = nil
	}
}

// Keys returns the keys with a prefix.
func (e *Etcd) Keys(ctx context.Context, prefix string) ([]string, error) {
	end := []byte{0}
	if prefix != "" {
		end = []byte(prefix)
		end[len(end)-1]++
	}
	var answer struct {
		KVs []struct{ Key []byte }
	}
	request := map[string]any{"key": encoded(cmp.Or(prefix, "\x00")), "range_end": encoded(string(end)), "keys_only": true}
	if err := e.ask(ctx, "kv/range", request, &answer); err != nil {
		return nil, err
	}
	keys := []string{}
	for _, kv := range answer.KVs {
		keys = append(keys, string(kv.Key))
	}
	return keys, nil
}

// Cluster returns the id of the etcd.
func (e *Etcd) Cluster(t *testing.T) (id uint64) {
	t.Helper()
	var answer struct {
		Header struct {
			Cluster uint64 `json:"cluster_id,string"`
		}
	}
	e.must(t, "kv/range", map[string]any{"key": encoded("x")}, &answer)
	return answer.Header.Cluster
}

// Get returns the value of a key.
func (e *Etcd) Get(t *testing.T, key string) []byte {
	t.Helper()
	var answer struct{ KVs []struct{ Value []byte } }
	e.must(t, "kv/range", map[string]any{"key": encoded(key)}, &answer)
	if len(answer.KVs) != 1 {
		t.Fatalf("etcd has %d values of %s, want one", len(answer.KVs), key)
	}
	return answer.KVs[0].Value
}

// Put writes a key.
func (e *Etcd) Put(t *testing.T, key string, value []byte) {
	t.Helper()
	e.must(t, "kv/put", map[string]any{"key": encoded(key), "value": value}, &struct{}{})
}

// Replace changes the value of a key, which keeps its lease.
func (e *Etcd) Replace(t *testing.T, key string, value []byte) {
	t.Helper()
	e.must(t, "kv/put", map[string]any{"key": encoded(key), "value": value, "ignore_lease": true}, &struct{}{})
}

// Delete deletes a key.
func (e *Etcd) Delete(t *testing.T, key string) {
	t.Helper()
	e.must(t, "kv/deleterange", map[string]any{"key": encoded(key)}, &struct{}{})
}

// DeleteFrom deletes in one step: for each key, all from it on up to the end of its folder.
func (e *Etcd) DeleteFrom(t *testing.T, keys ...string) {
	t.Helper()
	var operations []any
	for _, key := range keys {
		end := key[:strings.LastIndex(key, "/")] + "0" // the byte behind the slash
		operations = append(operations, map[string]any{"requestDeleteRange": map[string]any{"key": encoded(key), "range_end": encoded(end)}})
	}
	e.must(t, "kv/txn", map[string]any{"success": operations}, &struct{}{})
}

// Compact makes etcd forget what came before now.
func (e *Etcd) Compact(t *testing.T) {
	t.Helper()
	var now struct{ Header struct{ Revision string } }
	e.must(t, "kv/range", map[string]any{"key": encoded("\x00")}, &now)
	e.must(t, "kv/compaction", map[string]any{"revision": now.Header.Revision, "physical": true}, &struct{}{})
}

func encoded(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func (e *Etcd) must(t *testing.T, call string, request, answer any) {
	t.Helper()
	if err := e.ask(t.Context(), call, request, answer); err != nil {
		t.Fatal(err)
	}
}

// ask asks one node after the other, until one answers.
func (e *Etcd) ask(ctx context.Context, call string, request, answer any) (err error) {
	for _, n := range e.Nodes {
		if err = n.ask(ctx, call, request, answer); err == nil {
			return nil
		}
	}
	return err
}

// ask makes a call of etcd's API, which it has over HTTP and in JSON, too.
func (n *Node) ask(ctx context.Context, call string, request, answer any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "POST", n.clients.scheme()+n.Address+"/v3/"+call, bytes.NewReader(body))
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: n.clients.TLS, DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("etcd answers %s: %s", call, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(answer)
}

// WantStreams waits until so many streams are registered, and returns their keys.
func (e *Etcd) WantStreams(t *testing.T, want int) (keys []string) {
	t.Helper()
	wait.Until(t, func() (err error) {
		keys, err = e.Keys(t.Context(), "streamlatch/1/c/")
		if err != nil {
			return err
		}
		if len(keys) != want {
			return fmt.Errorf("etcd has %d streams, want %d:\n%s", len(keys), want, strings.Join(keys, "\n"))
		}
		return nil
	})
	return keys
}

// WantNothing waits until etcd has no key under the prefix, not even those of members.
func (e *Etcd) WantNothing(t *testing.T) {
	t.Helper()
	wait.Until(t, func() error {
		keys, err := e.Keys(t.Context(), "streamlatch/")
		if err == nil && len(keys) > 0 {
			err = fmt.Errorf("etcd has %q, want nothing", keys)
		}
		return err
	})
}

// RevokeAll ends all leases, and returns how many they were.
func (e *Etcd) RevokeAll(t *testing.T) int {
	t.Helper()
	var answer struct{ Leases []struct{ ID string } }
	e.must(t, "lease/leases", map[string]any{}, &answer)
	for _, l := range answer.Leases {
		e.must(t, "lease/revoke", map[string]any{"ID": l.ID}, &struct{}{})
	}
	return len(answer.Leases)
}
