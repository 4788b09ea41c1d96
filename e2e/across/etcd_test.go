//go:build etcd

package across

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
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

// etcd is a real etcd of one node, with its data in a folder of the test.
type etcd struct {
	address, peer string // host:port
	dir           string
	process       *exec.Cmd
}

// startEtcd starts the etcd that $ETCD names, or that of the PATH. The end of the test stops it.
func startEtcd(t *testing.T) *etcd {
	t.Helper()
	e := &etcd{address: freeAddress(t), peer: freeAddress(t), dir: t.TempDir()}
	t.Cleanup(func() { e.kill() })
	e.start(t)
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

// port returns the port for clients.
func (e *etcd) port(t *testing.T) int {
	t.Helper()
	_, port, err := net.SplitHostPort(e.address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// start starts it with the data that it has.
func (e *etcd) start(t *testing.T) {
	t.Helper()
	client, peer := "http://"+e.address, "http://"+e.peer
	e.process = exec.Command(cmp.Or(os.Getenv("ETCD"), "etcd"),
		"--name", "one", "--data-dir", e.dir, "--log-level", "error",
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "one="+peer)
	var output bytes.Buffer
	e.process.Stdout, e.process.Stderr = &output, &output
	if err := e.process.Start(); err != nil {
		t.Fatalf("start etcd, of Debian's package etcd-server or as $ETCD names it: %v", err)
	}
	wait.Until(t, func() error {
		_, err := e.keys(t.Context(), "")
		return err
	})
}

// stop makes it stand still, as on a machine that has no time for it. It returns once no thread of
// it runs: until then, it may still answer.
func (e *etcd) stop(t *testing.T) {
	t.Helper()
	e.signal(t, syscall.SIGSTOP)
	wait.Until(t, func() error {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", e.process.Process.Pid))
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

// goOn ends stop.
func (e *etcd) goOn(t *testing.T) {
	t.Helper()
	e.signal(t, syscall.SIGCONT)
}

func (e *etcd) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := e.process.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func (e *etcd) kill() {
	if e.process != nil && e.process.Process != nil {
		_ = e.process.Process.Kill()
		_ = e.process.Wait()
		e.process = nil
	}
}

// forget deletes its data. It must not run.
func (e *etcd) forget(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(e.dir); err != nil {
		t.Fatal(err)
	}
}

// wantNothing waits until etcd has no key under the prefix, not even those of members.
func (e *etcd) wantNothing(t *testing.T) {
	t.Helper()
	wait.Until(t, func() error {
		keys, err := e.keys(t.Context(), "streamlatch/")
		if err == nil && len(keys) > 0 {
			err = fmt.Errorf("etcd has %q, want nothing", keys)
		}
		return err
	})
}

// keys returns the keys with a prefix.
func (e *etcd) keys(ctx context.Context, prefix string) ([]string, error) {
	all := prefix == ""
	end := []byte{0}
	if !all {
		end = []byte(prefix)
		end[len(end)-1]++
	}
	key := cmp.Or(prefix, "\x00")
	var answer struct {
		KVs []struct{ Key []byte }
	}
	request := map[string]any{"key": encoded([]byte(key)), "range_end": encoded(end), "keys_only": true}
	if err := e.ask(ctx, "kv/range", request, &answer); err != nil {
		return nil, err
	}
	keys := []string{}
	for _, kv := range answer.KVs {
		keys = append(keys, string(kv.Key))
	}
	return keys, nil
}

func encoded(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// ask makes a call of etcd's API, which it has over HTTP and in JSON, too.
func (e *etcd) ask(ctx context.Context, call string, request, answer any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "POST", "http://"+e.address+"/v3/"+call, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != 200 {
		return fmt.Errorf("etcd answers %s: %s", call, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(answer)
}

// wantStreams waits until so many streams are registered, and returns their keys.
func (e *etcd) wantStreams(t *testing.T, want int) (keys []string) {
	t.Helper()
	wait.Until(t, func() (err error) {
		keys, err = e.keys(t.Context(), "streamlatch/1/c/")
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

// revokeAll ends all leases.
func (e *etcd) revokeAll(t *testing.T) (n int) {
	t.Helper()
	var answer struct{ Leases []struct{ ID string } }
	if err := e.ask(t.Context(), "lease/leases", map[string]any{}, &answer); err != nil {
		t.Fatal(err)
	}
	for _, l := range answer.Leases {
		if err := e.ask(t.Context(), "lease/revoke", map[string]any{"ID": l.ID}, &struct{}{}); err != nil {
			t.Fatal(err)
		}
	}
	return len(answer.Leases)
}
