// Command needs looks for the programs that `make test-all` needs besides Go and make. It
// prints a line for each: where it is, or how to get it. It exits with 1 if one is missing.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/streamlatch/streamlatch/envoy/container"
)

func main() {
	// An engine whose daemon hangs must not hold up the answer.
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if missing := look(ctx, os.Stdout); missing > 0 {
		fmt.Printf("%d missing. make test runs everything that does not need them.\n", missing)
		os.Exit(1)
	}
}

// A need is something that must be there.
type need struct {
	name string
	find func(ctx context.Context) (where string, err error)
	get  string // how to get it
}

var needs = []need{
	{"Prometheus", program("prometheus"), "Debian: apt-get install prometheus"},
	{"promtool", program("promtool"), "Debian: it is in the package prometheus"},
	{"etcd", etcd, "Debian: apt-get install etcd-server; or set ETCD to the path of one"},
	{"etcdctl", program("etcdctl"), "Debian: apt-get install etcd-client"},
	{"Chromium", program("chromium"), "Debian: apt-get install chromium"},
	{"Node.js", node, "Debian 13: apt-get install nodejs"},
	{"npm", program("npm"), "Debian: apt-get install npm"},
	{"Python", program("python3"), "Debian: apt-get install python3-pip"},
	{"Java", program("javac"), "Debian: apt-get install default-jdk-headless"},
	{"Maven", program("mvn"), "Debian: apt-get install maven"},
	{"container engine", engine, "Debian: apt-get install podman runc"},
	{"podman", program("podman"), "Debian: apt-get install podman runc; the test of the compose file needs it, beside Docker, too"},
	{"docker-compose", program("docker-compose"), "Debian: apt-get install --no-install-recommends docker-compose"},
	{"git", program("git"), "Debian: apt-get install git"},
}

// look writes a line for each need, and returns how many are missing.
func look(ctx context.Context, w io.Writer) (missing int) {
	for _, n := range needs {
		where, err := n.find(ctx)
		if err != nil {
			missing++
			fmt.Fprintf(w, "%-17s missing: %v. %s\n", n.name, err, n.get)
			continue
		}
		fmt.Fprintf(w, "%-17s %s\n", n.name, where)
	}
	return missing
}

func program(name string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		path, err := exec.LookPath(name)
		if errors.Is(err, exec.ErrNotFound) {
			return "", fmt.Errorf("no %s on PATH", name)
		}
		return path, err
	}
}

// etcd finds the etcd that $ETCD names, or that of the PATH.
func etcd(ctx context.Context) (string, error) {
	return program(cmp.Or(os.Getenv("ETCD"), "etcd"))(ctx)
}

// oldestNode is the major version of Node.js that the SDKs in e2e/sdks ask for.
const oldestNode = 20

// node finds Node.js, if it is new enough.
func node(ctx context.Context) (string, error) {
	path, err := program("node")(ctx)
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", path, err)
	}
	version := strings.TrimSpace(string(out))
	var major int
	if _, err := fmt.Sscanf(version, "v%d.", &major); err != nil || major < oldestNode {
		return "", fmt.Errorf("%s is %q, want v%d or newer", path, version, oldestNode)
	}
	return path + " " + version, nil
}

// engine finds docker or podman as the tests do, and asks it to answer.
func engine(ctx context.Context) (string, error) {
	e, err := container.Find(ctx)
	if err != nil {
		return "", err
	}
	return e.String(), nil
}
