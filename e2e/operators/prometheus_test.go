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

// startPrometheus starts Debian's Prometheus with the shipped configuration and alerts, in which change only the targets,
// which get a label that names them, the scrapes, one each second, and the rules' durations: see quickly.
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
	var log strings.Builder // of one goroutine, until the process has ended
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
	t.Cleanup(func() { // the test's context is over then, so it has its signal
		if err := <-ended; err != nil && !errors.Is(err, t.Context().Err()) {
			t.Errorf("prometheus: %v", err)
		}
		if t.Failed() {
			t.Log("prometheus said:\n", log.String())
		}
	})
	select {
	case at := <-listening:
		return &server{url: "http://" + at}
	case err := <-ended:
		ended <- err
		t.Fatal("prometheus has ended before it listened")
	case <-time.After(wait.Patience):
		t.Fatal("prometheus does not listen")
	}
	return nil
}

// duration is where a rules file has one: after "for:", as a range, or as an offset.
var duration = regexp.MustCompile(`(for: |\[|offset )(\d+)([mh])\b`)

// quickly returns the rules with a second for each minute of theirs, or nobody would wait for an alert here. Numbers of
// events a second stay.
func quickly(t *testing.T, rules string) string {
	t.Helper()
	quick := shorter(rules)
	for _, left := range []string{"[5m]", "for: 5m", "offset 10m", "[1h]"} {
		if strings.Contains(quick, left) || !strings.Contains(rules, left) {
			t.Fatalf("the rules have no %s, or it is left", left)
		}
	}
	return quick
}

// shorter has a second in the place of each minute.
func shorter(rules string) string {
	return duration.ReplaceAllStringFunc(rules, func(text string) string {
		m := duration.FindStringSubmatch(text)
		return m[1] + m[2] + map[string]string{"m": "s", "h": "m"}[m[3]]
	})
}

// ask asks Prometheus's API, and decodes the answer's data.
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

// A point is a time series and its value now.
type point struct {
	labels map[string]string
	value  float64
}

// query returns what an expression is now, without what is not a number.
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
