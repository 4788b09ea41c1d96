//go:build container

package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/wait"
	"github.com/streamlatch/streamlatch/envoy/container"
)

// patience is longer than wait.Patience, because Prometheus scrapes only every 15 seconds, and
// docker-compose may take minutes on a busy machine.
const patience = 5 * time.Minute

// run are the services that the test starts. Grafana's image comes only from a registry.
var run = []string{"envoy", "demo", "prometheus"}

// A stack is what docker-compose has started, on podman.
type stack struct {
	t           *testing.T
	ctx         context.Context // ends with the test, or at Ctrl-C
	podman      container.Engine
	project     string
	file        string   // of the repository
	first       []string // the services that share the network of another
	files       []string // arguments with the names of the files
	environment []string
}

// `docker compose up`, a request to everything that has an address, and `down`.
func TestUpAndDown(t *testing.T) {
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t.Setenv(container.Variable, "podman") // podman's build can mount the toolchain
	podman, err := container.Find(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s := &stack{t: t, ctx: ctx, podman: podman, project: fmt.Sprintf("streamlatch-test-%d", os.Getpid()), file: file, first: []string{"demo", "prometheus"}}
	variables := substitutes(t, ctx, podman, s.project)
	variables["STREAMLATCH_VERSION"] = "of-the-test"
	address := s.up(variables, run, "EDGE_PORT", "INTERNAL_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")
	edge, internal, prometheus := "http://"+address["EDGE_PORT"], "http://"+address["INTERNAL_PORT"], "http://"+address["PROMETHEUS_PORT"]
	s.until(func() error { return s.shows(edge+"/", "<title>Streamlatch demo</title>") })
	first, second := s.open(edge+"/events?client=ann"), s.open(edge+"/events?client=ann")
	if _, err := io.Copy(io.Discard, first); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("the first stream: got the end %v, want a reset", err)
	}
	if _, err := second.Read(make([]byte, 1)); err != nil {
		t.Errorf("the second stream: got %v, want an event", err)
	}
	s.until(func() error { return s.shows(internal+"/streamlatch", `"rules":[{"name":"events","active":1,`) })
	// The page's own requests: its streams take a detour through the demo, which knows this Envoy.
	s.until(func() error { return s.shows(edge+"/demo/line/off/events?client=bob&events=1", `"client":"bob"`) })
	kick, err := http.Post(edge+"/demo/kick?client=bob", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	kick.Body.Close()
	if kick.StatusCode != http.StatusNotFound {
		t.Errorf("kick, of a client without a stream: got %s, want 404 from the filter", kick.Status)
	}
	s.until(func() error {
		return s.shows(internal+"/streamlatch", `"version":"`+variables["STREAMLATCH_VERSION"]+`"`)
	})
	s.until(func() error {
		query := url.Values{"query": {`streamlatch_superseded{job="streamlatch",streamlatch_rule="events"} == 1 and on(instance) up == 1`}}
		return s.shows(prometheus+"/api/v1/query?"+query.Encode(), `"streamlatch_rule":"events"`)
	})
	s.until(func() error { return s.shows(prometheus+"/api/v1/rules", `"name":"StreamlatchTakeoverStorm"`) })
}

// up builds the images, starts the services, and returns the address of each port, which the file
// names by a variable.
func (s *stack) up(variables map[string]string, services []string, ports ...string) map[string]string {
	s.t.Helper()
	s.build(variables)
	address := map[string]string{}
	for port, free := range freeAddresses(s.t, ports...) {
		address[port] = free.String()
		variables[port] = strconv.Itoa(free.Port)
	}
	variables["DOCKER_HOST"] = "unix://" + serve(s.t, s.podman)
	for name, value := range variables {
		s.environment = append(s.environment, name+"="+value)
	}
	s.must("config", "--quiet")
	s.t.Cleanup(s.down)
	s.must(append([]string{"up", "--detach", "--no-build"}, services...)...)
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Log(s.must("logs", "--no-color"))
		}
	})
	for _, service := range services {
		for _, m := range s.mounts(service) {
			if m.Type == "volume" {
				s.t.Errorf("%s: got a volume at %s, want none", service, m.Destination)
			}
		}
		if user := s.inspect(service, "{{.Config.User}}"); user == "" || user == "root" || strings.HasPrefix(user, "0") {
			s.t.Errorf("%s: got the user %q, want one that is not root", service, user)
		}
	}
	return address
}

// freeAddresses returns a free address for each name.
func freeAddresses(t *testing.T, names ...string) map[string]*net.TCPAddr {
	t.Helper()
	addresses := map[string]*net.TCPAddr{}
	for _, name := range names {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // after all are found, so that they differ
		addresses[name] = l.Addr().(*net.TCPAddr)
	}
	return addresses
}

// serve makes podman serve docker's API, and returns its socket.
func serve(t *testing.T, podman container.Engine) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "podman.sock")
	var output bytes.Buffer
	service := podman.Command(context.Background(), "system", "service", "--time", "0", "unix://"+socket)
	service.Stdout, service.Stderr = &output, &output
	service.WaitDelay = time.Second
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		service.Process.Signal(syscall.SIGTERM)
		service.Wait()
		if t.Failed() {
			t.Logf("podman: %s", output.String())
		}
	})
	wait.Until(t, func() error {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return fmt.Errorf("want podman to serve docker's API: %w", err)
		}
		return conn.Close()
	})
	return socket
}

// build builds the images that the file describes, and writes the files that docker-compose reads:
// the shipped one, and one that names these images.
func (s *stack) build(variables map[string]string) {
	s.t.Helper()
	// Debian's docker-compose 1.29 does not know this one field.
	project := loadFile(s.t, s.file, variables)
	name := "\nname: " + project.Name + "\n"
	shipped := read(s.t, s.file)
	if strings.Count(shipped, name) != 1 {
		s.t.Fatalf("%s: want %q once", s.file, name)
	}
	override, built := "services:\n", map[string]bool{}
	for _, service := range project.Services {
		if service.Build != nil {
			tag := image(s.project, service.Build.Target)
			if !built[tag] {
				build(s.t, s.ctx, s.podman, service, tag)
				built[tag] = true
			}
			override += "  " + service.Name + ": {image: \"" + tag + "\"}\n"
		}
	}
	s.files = []string{"--project-directory", filepath.Dir(s.file)}
	for _, text := range []string{strings.Replace(shipped, name, "\n", 1), override} {
		path := filepath.Join(s.t.TempDir(), "compose.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
		s.files = append(s.files, "--file", path)
	}
}

// must calls docker-compose and returns its output.
func (s *stack) must(args ...string) string {
	s.t.Helper()
	output, err := s.compose(args...)
	if err != nil {
		s.t.Fatalf("docker-compose %s: %v\n%s", args[0], err, output)
	}
	return output
}

func (s *stack) compose(args ...string) (string, error) {
	args = append(append([]string{"--project-name", s.project}, s.files...), args...)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker-compose", args...)
	cmd.Env = append(os.Environ(), s.environment...)
	// Ctrl-C must reach only the test, which then calls `down`.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	output, err := cmd.CombinedOutput()
	return string(output), err
}

// down ends everything and checks that nothing is left.
func (s *stack) down() {
	// podman removes a container only after those that share its network. docker-compose 1 ignores
	// this order.
	for _, args := range [][]string{append([]string{"rm", "--force", "--stop"}, s.first...), {"down"}} {
		if output, err := s.compose(args...); err != nil {
			s.t.Errorf("docker-compose %s: %v\n%s", args[0], err, output)
		}
	}
	filter := "label=com.docker.compose.project=" + s.project
	for _, what := range []string{"container", "network", "volume"} {
		args := []string{what, "ls", "--quiet", "--filter", filter}
		if what == "container" {
			args = append(args, "--all")
		}
		if left, err := s.podman.Output(context.Background(), args...); err != nil || left != "" {
			s.t.Errorf("after down: got %s %q (%v), want none", what, left, err)
		}
	}
}

type mount struct{ Type, Destination string }

func (s *stack) mounts(service string) []mount {
	s.t.Helper()
	var mounts []mount
	if err := json.Unmarshal([]byte(s.inspect(service, "{{json .Mounts}}")), &mounts); err != nil {
		s.t.Fatal(err)
	}
	return mounts
}

// inspect returns what podman says about the container of a service, in this format.
func (s *stack) inspect(service, format string) string {
	s.t.Helper()
	id, err := s.podman.Output(s.ctx, "container", "ls", "--quiet", "--filter", "label=com.docker.compose.project="+s.project, "--filter", "label=com.docker.compose.service="+service)
	if err != nil || id == "" {
		s.t.Fatalf("%s: want a running container, got none (%v)", service, err)
	}
	output, err := s.podman.Output(s.ctx, "container", "inspect", "--format", format, id)
	if err != nil {
		s.t.Fatal(err)
	}
	return output
}

// until is like [wait.Until], with more patience. It ends at Ctrl-C.
func (s *stack) until(check func() error) {
	s.t.Helper()
	wait.UntilWithin(s.t, patience, func() error {
		if s.ctx.Err() != nil {
			s.t.Fatal("interrupted")
		}
		return check()
	})
}

// shows gets a page and returns an error unless it contains text.
func (s *stack) shows(address, text string) error {
	body, err := s.get(s.ctx, address)
	if err != nil {
		return err
	}
	defer body.Close()
	page, err := io.ReadAll(body)
	if err == nil && !strings.Contains(string(page), text) {
		err = fmt.Errorf("%s: want %q, got %.1000s", address, text, page)
	}
	return err
}

// open opens an event stream.
func (s *stack) open(address string) io.Reader {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	body, err := s.get(ctx, address)
	if err != nil {
		cancel()
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { cancel(); body.Close() })
	return body
}

func (s *stack) get(ctx context.Context, address string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "text/event-stream")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("%s: %s", address, response.Status)
	}
	return response.Body, nil
}
