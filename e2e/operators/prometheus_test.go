//go:build prometheus

package operators

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/wait"
	"github.com/streamlatch/streamlatch/envoy/proxy"
	"sigs.k8s.io/yaml"
)

// A server is a running Prometheus.
type server struct {
	url string
}

// startPrometheus starts Debian's Prometheus with the shipped configuration and alerts. It changes
// only the targets, which get a label with their name, the interval of the scrapes, which is 1s,
// and the durations of the rules: see quickly.
func startPrometheus(t *testing.T, targets map[string]string) *server {
	t.Helper()
	dir := t.TempDir()
	var config map[string]any
	if err := yaml.Unmarshal([]byte(read(t, configFile)), &config); err != nil {
		t.Fatal(err)
	}
	config["global"] = map[string]any{"scrape_interval": "1s", "evaluation_interval": "1s"}
	job := config["scrape_configs"].([]any)[0].(map[string]any)
	var static []any
	for name, address := range targets {
		static = append(static, map[string]any{"targets": []string{address}, "labels": map[string]string{"envoy": name}})
	}
	job["static_configs"] = static
	written, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		filepath.Base(configFile): string(written),
		filepath.Base(alertsFile): quickly(t, read(t, alertsFile)),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	listening := make(chan string, 1)
	var log strings.Builder // written by one goroutine, until the process has ended
	cmd := exec.CommandContext(t.Context(), program(t, "prometheus"),
		"--config.file="+filepath.Join(dir, filepath.Base(configFile)),
		"--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address=127.0.0.1:0")
	address := regexp.MustCompile(`msg="Listening on" address=(127\.0\.0\.1:\d+)`)
	cmd.Stderr = proxy.EachLine(func(line string) {
		fmt.Fprintln(&log, line)
		if m := address.FindStringSubmatch(line); m != nil {
			listening <- m[1]
		}
	})
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = wait.Patience
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { // the end of the test's context has signalled it by now
		if err := <-ended; err != nil && !errors.Is(err, t.Context().Err()) {
			t.Errorf("prometheus: %v", err)
		}
		if t.Failed() {
			t.Log("prometheus's log:\n", log.String())
		}
	})
	select {
	case at := <-listening:
		return &server{url: "http://" + at}
	case err := <-ended:
		ended <- err
		t.Fatal("prometheus: got its end, want it to listen")
	case <-time.After(wait.Patience):
		t.Fatalf("prometheus: want it to listen within %v", wait.Patience)
	}
	return nil
}

// duration matches the durations in a file of rules: after "for:", as a range, or as an offset.
var duration = regexp.MustCompile(`(for: |\[|offset )(\d+)([mh])\b`)

// quickly shortens each minute in the rules to a second, so that the test need not wait for
// minutes. Rates of events stay the same.
func quickly(t *testing.T, rules string) string {
	t.Helper()
	quick := shorter(rules)
	for _, left := range []string{"[5m]", "for: 5m", "offset 10m", "[1h]"} {
		if strings.Contains(quick, left) || !strings.Contains(rules, left) {
			t.Fatalf("rules: want %s in them, and shortened", left)
		}
	}
	return quick
}

// shorter replaces each minute by a second.
func shorter(rules string) string {
	return duration.ReplaceAllStringFunc(rules, func(text string) string {
		m := duration.FindStringSubmatch(text)
		return m[1] + m[2] + map[string]string{"m": "s", "h": "m"}[m[3]]
	})
}

// ask calls Prometheus's API and decodes the data of the response.
func (s *server) ask(t *testing.T, path string, query url.Values, data any) error {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/api/v1/"+path+"?"+query.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s: %s: %w", path, response.Status, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s %v: %s", path, query, answer.Error)
	}
	return nil
}

// A point is a time series and its present value.
type point struct {
	labels map[string]string
	value  float64
}

// query returns the present values of an expression, without those that are not numbers.
func (s *server) query(t *testing.T, expr string) ([]point, error) {
	t.Helper()
	var data struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any
		}
	}
	if err := s.ask(t, "query", url.Values{"query": {expr}}, &data); err != nil {
		return nil, err
	}
	var points []point
	for _, r := range data.Result {
		text, _ := r.Value[1].(string)
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", expr, err)
		}
		if !math.IsNaN(value) {
			points = append(points, point{r.Metric, value})
		}
	}
	return points, nil
}
