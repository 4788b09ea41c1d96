package process

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/dir"
	"github.com/streamlatch/streamlatch/e2e/wait"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

func TestStartServesAndStopEnds(t *testing.T) {
	temporary := dir.Temporary(t)
	var stdout, stderr synced
	p := start(t, proxy.Options{Config: plain, Concurrency: 2, Stdout: &stdout, Stderr: &stderr, ComponentLogLevel: "http:debug"})
	if left := temporary(); len(left) > 0 {
		t.Errorf("got the temporary files %q of a running Envoy, want none: a killed program would leave them", left)
	}
	listeners, err := p.Admin().Listeners(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Get("http://" + listeners["plain"])
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	stats, err := p.Admin().Stats(t.Context(), "http.plain.downstream_rq_completed|server.concurrency")
	if err != nil {
		t.Fatal(err)
	}
	if got := stats.Values; got["http.plain.downstream_rq_completed"] != 1 || got["server.concurrency"] != 2 {
		t.Errorf("got %v, want one request and two workers", got)
	}
	if err := syscall.Kill(p.PID(), 0); err != nil {
		t.Errorf("signal 0 to its process id: got %v, want a process", err)
	}
	if err := p.Err(); err != nil {
		t.Errorf("Err while it runs: got %v, want nil", err)
	}

	var stops sync.WaitGroup
	for range 3 {
		stops.Go(func() {
			if err := p.Stop(); err != nil {
				t.Errorf("Stop: got %v, want nil", err)
			}
		})
	}
	stops.Wait()
	wait.For(t, "its end", p.Done())
	if err := p.Err(); err != nil {
		t.Errorf("Err after Stop: got %v, want nil", err)
	}
	if err := syscall.Kill(p.PID(), 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("signal 0 after Stop: got %v, want no such process", err)
	}
	if !strings.Contains(stdout.String(), " 204 ") {
		t.Errorf("stdout: got %q, want the access log", stdout.String())
	}
	if !strings.Contains(stderr.String(), "[debug][http]") {
		t.Errorf("stderr: got %q, want lines at the configured level", stderr.String())
	}
}

func TestEnvoyEndsByItself(t *testing.T) {
	for signal, reason := range map[syscall.Signal]string{
		syscall.SIGKILL: "signal: killed",
		syscall.SIGTERM: "exit status 0, as after a SIGTERM",
	} {
		t.Run(signal.String(), func(t *testing.T) {
			p := start(t, proxy.Options{Config: plain, Concurrency: 1})
			if err := syscall.Kill(p.PID(), signal); err != nil {
				t.Fatal(err)
			}
			wait.For(t, "its end", p.Done())
			exit := (*proxy.ExitError)(nil)
			if !errors.As(p.Err(), &exit) || exit.Stopped {
				t.Fatalf("Err: got %v, want an end by itself", p.Err())
			}
			if want := "envoy ended by itself: " + reason; exit.Summary() != want {
				t.Errorf("Summary: got %q, want %q", exit.Summary(), want)
			}
			if err := p.Stop(); err != p.Err() {
				t.Errorf("Stop: got %v, want %v", err, p.Err())
			}
		})
	}
}

func TestStartErrors(t *testing.T) {
	other := start(t, proxy.Options{Config: plain, Concurrency: 1})
	inUse := strings.TrimPrefix(other.Admin().URL, "http://127.0.0.1:")
	beforeListener := strings.LastIndex(plain, "port_value: 0")
	for name, test := range map[string]struct {
		path    string // "": that of a real Envoy
		options proxy.Options
		want    []string
	}{
		"a configuration that Envoy rejects": {
			"", proxy.Options{Config: strings.Replace(plain, "stat_prefix", "stat_suffix", 1)},
			[]string{"ended by itself: exit status 1", "stat_suffix"}},
		"a port in use": {
			"", proxy.Options{Config: plain[:beforeListener] + strings.Replace(plain[beforeListener:], "port_value: 0", "port_value: "+inUse, 1)},
			[]string{"start envoy: envoy ended by itself: exit status 1: ", "cannot bind '127.0.0.1:" + inUse + "': Address already in use"}},
		"a port in use, for the admin interface": {
			"", proxy.Options{Config: strings.Replace(plain, "port_value: 0", "port_value: "+inUse, 1)},
			[]string{"start envoy: envoy ended by itself: exit status 1: cannot bind '127.0.0.1:" + inUse + "': Address already in use"}},
		"an error without the log format": {
			"", proxy.Options{Config: plain, ComponentLogLevel: "nonsense:debug"},
			[]string{"nonsense"}},
		"no such binary": {
			"/no/such/envoy", proxy.Options{Config: plain},
			[]string{"/no/such/envoy", "no such file"}},
	} {
		t.Run(name, func(t *testing.T) {
			temporary := dir.Temporary(t)
			if test.path == "" {
				test.path = realEnvoy(t)
			}
			_, err := proxy.Start(t.Context(), proxy.Binary(test.path), test.options)
			if err == nil {
				t.Fatal("got no error, want one")
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("got the error %q, want %q in it", err, part)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("got the error %q, want one line", err)
			}
			if left := temporary(); len(left) > 0 {
				t.Errorf("got the temporary files %q, want none", left)
			}
		})
	}
}

// Relative paths in the configuration are relative to Options.Dir.
func TestStartDirectory(t *testing.T) {
	path := t.TempDir()
	config := strings.Replace(plain, "envoy.access_loggers.stdout", "envoy.access_loggers.file", 1)
	config = strings.Replace(config, "stream.v3.StdoutAccessLog", `file.v3.FileAccessLog", path: "access.log`, 1)
	start(t, proxy.Options{Config: config, Concurrency: 1, Dir: path})
	if got := dir.Names(t, path); len(got) != 1 || got[0] != "access.log" {
		t.Errorf("got %q in the directory, want access.log", got)
	}
}

// A real Envoy writes histograms in the format that Stats reads. It has one for its own start.
func TestHistogramsOfARealEnvoy(t *testing.T) {
	p := start(t, proxy.Options{Config: plain, Concurrency: 1})
	stats, err := p.Admin().Stats(t.Context(), `^server\.initialization_time_ms$`)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := stats.Histograms["server.initialization_time_ms"]; !ok {
		t.Errorf("got %+v, want server.initialization_time_ms", stats)
	}
}

// The Envoy that ENVOY names is checked like one that is found elsewhere.
func TestTheRealEnvoyIsUsable(t *testing.T) {
	path := realEnvoy(t)
	v, err := proxy.VersionOf(t.Context(), proxy.Binary(path))
	if err != nil {
		t.Fatal(err)
	}
	if v.Less(proxy.Oldest) {
		t.Errorf("got Envoy %v, want %v or later", v, proxy.Oldest)
	}
	t.Setenv("ENVOY", path)
	if found, err := proxy.Find(t.Context(), t.TempDir()); err != nil || found != path {
		t.Errorf("Find with ENVOY=%s: got %q, %v", path, found, err)
	}
}
