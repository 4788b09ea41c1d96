//go:build container

package compose

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/streamlatch/streamlatch/envoy/container"
	"github.com/streamlatch/streamlatch/envoy/etcd"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

// goRecipe makes an image in which a build mounts the Go toolchain. An image with the toolchain
// would be large.
const goRecipe = `FROM scratch
COPY . /
ENV PATH=/usr/local/go/bin:/bin GOPATH=/go GOCACHE=/cache GOTOOLCHAIN=local GOPROXY=off
`

// prometheusRecipe has the same settings as the official image.
const prometheusRecipe = `FROM scratch
COPY . /
USER 65534:65534
VOLUME ["/prometheus"]
WORKDIR /prometheus
ENTRYPOINT ["/bin/prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
`

// etcdRecipe has the same settings as the official image, as far as the file relies on them.
const etcdRecipe = `FROM scratch
COPY . /
ENV PATH=/bin
`

// substitutes makes images from what this machine has, in place of those that come from a registry.
// It returns the variables that name them.
func substitutes(t *testing.T, ctx context.Context, podman container.Engine, project string) map[string]string {
	t.Helper()
	variables := builders(t, ctx, podman, project)
	variables["PROMETHEUS_IMAGE"] = image(project, "prometheus")
	makeImage(t, ctx, podman, variables["PROMETHEUS_IMAGE"], prometheusRecipe, []string{"prometheus"}, "prometheus", "etc/prometheus")
	return variables
}

// fleetSubstitutes are those for a fleet.
func fleetSubstitutes(t *testing.T, ctx context.Context, podman container.Engine, project string) map[string]string {
	t.Helper()
	path, _, err := etcd.Find(ctx)
	if err != nil {
		t.Fatal(err)
	}
	variables := builders(t, ctx, podman, project)
	named := filepath.Join(t.TempDir(), "etcd") // its own name may be another
	if err := os.Symlink(path, named); err != nil {
		t.Fatal(err)
	}
	variables["ETCD_IMAGE"] = image(project, "etcd")
	makeImage(t, ctx, podman, variables["ETCD_IMAGE"], etcdRecipe, []string{named}, "tmp")
	return variables
}

// builders are the images that the Containerfile begins with.
func builders(t *testing.T, ctx context.Context, podman container.Engine, project string) map[string]string {
	t.Helper()
	envoy, err := proxy.FindImage(ctx, "build")
	if err != nil {
		t.Fatal(err)
	}
	goImage := image(project, "go")
	makeImage(t, ctx, podman, goImage, goRecipe, []string{"sh", "sed", "grep"}, "tmp", "cache", "go", "usr/local/go")
	return map[string]string{"ENVOY_IMAGE": envoy.Image, "GO_IMAGE": goImage}
}

// image returns the name of an image of this test.
func image(project, part string) string { return "localhost/" + project + "/" + part + ":test" }

// makeImage makes an image with programs of this machine, in /bin, and empty directories.
func makeImage(t *testing.T, ctx context.Context, podman container.Engine, tag, recipe string, programs []string, folders ...string) {
	t.Helper()
	root := t.TempDir()
	for _, folder := range folders {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, program := range programs {
		from, err := exec.LookPath(program)
		if err != nil {
			t.Fatalf("%v: install it", err)
		}
		install(t, from, filepath.Join(root, "bin", filepath.Base(program)))
		for _, library := range libraries(t, from) {
			install(t, library, filepath.Join(root, library))
		}
	}
	if err := podman.Build(ctx, container.Build{Dir: root, Recipe: recipe, Tag: tag}); err != nil {
		t.Fatal(err)
	}
	removeImage(t, podman, tag)
}

// libraries returns the dynamic libraries of a program, and their loader.
func libraries(t *testing.T, program string) []string {
	t.Helper()
	output, err := exec.Command("ldd", program).CombinedOutput()
	if err != nil && !strings.Contains(string(output), "not a dynamic executable") {
		t.Fatalf("ldd %s: %v: %s", program, err, output)
	}
	var files []string
	for _, word := range strings.Fields(string(output)) {
		if filepath.IsAbs(word) {
			files = append(files, word)
		}
	}
	return files
}

func install(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	if err == nil {
		err = os.WriteFile(to, data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// build builds the image of a service as the file says, with this machine's Go.
func build(t *testing.T, ctx context.Context, podman container.Engine, s types.ServiceConfig, tag string) {
	t.Helper()
	args := []string{"build", "--quiet", "--layers=false", "--file", filepath.Join(s.Build.Context, s.Build.Dockerfile), "--target", s.Build.Target, "--tag", tag}
	for name, value := range s.Build.Args {
		args = append(args, "--build-arg", name+"="+*value)
	}
	for variable, at := range map[string]string{"GOROOT": "/usr/local/go:ro", "GOMODCACHE": "/go/pkg/mod", "GOCACHE": "/cache"} {
		output, err := exec.CommandContext(ctx, "go", "env", variable).Output()
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, "--volume", strings.TrimSpace(string(output))+":"+at)
	}
	cmd := podman.Command(ctx, append(args, s.Build.Context)...)
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", s.Name, err, output)
	}
	removeImage(t, podman, tag)
}

// removeImage removes an image at the end of the test.
func removeImage(t *testing.T, podman container.Engine, tag string) {
	t.Cleanup(func() {
		if _, err := podman.Output(context.Background(), "image", "rm", "--force", tag); err != nil {
			t.Error(err)
		}
	})
}
