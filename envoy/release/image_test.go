package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

var sample = Image{
	Name: "streamlatch:v1.2.3", Wasm: []byte("\x00asm and so on"), Version: "v1.2.3",
	Commit: Commit{ID: "0123456789abcdef0123456789abcdef01234567", Time: time.Date(2026, 11, 28, 13, 12, 10, 0, time.UTC)},
}

// An engine follows the digests from index.json to the layer. Each leads to a blob of that digest
// and size. An old docker follows manifest.json instead, to the same blobs.
func TestArchive(t *testing.T) {
	text, err := sample.Archive()
	if err != nil {
		t.Fatal(err)
	}
	files := untar(t, text)
	if got := string(files["oci-layout"].content); got != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout: %s", got)
	}
	index := decode[imageIndex](t, files, "index.json")
	if index.SchemaVersion != 2 || index.MediaType != indexType || len(index.Manifests) != 1 {
		t.Fatalf("index.json: %+v, want one image", index)
	}
	if got := index.Manifests[0].Annotations["org.opencontainers.image.ref.name"]; got != sample.Name {
		t.Errorf("the image's name is %q, want %q", got, sample.Name)
	}
	manifest := decode[imageManifest](t, files, follow(t, files, index.Manifests[0], manifestType))
	if manifest.SchemaVersion != 2 || manifest.MediaType != manifestType || len(manifest.Layers) != 1 {
		t.Fatalf("manifest: %+v, want one layer", manifest)
	}
	configName, layerName := follow(t, files, manifest.Config, configType), follow(t, files, manifest.Layers[0], layerType)
	if want := "oci-layout index.json manifest.json " + follow(t, files, index.Manifests[0], manifestType) + " " + configName + " " + layerName; strings.Join(files.names(), " ") != want {
		t.Errorf("files\n got %q\nwant %q", files.names(), want)
	}

	config := decode[imageConfig](t, files, configName)
	if config.OS != "linux" || config.Architecture != "amd64" || config.Created != "2026-11-28T13:12:10Z" {
		t.Errorf("configuration: %s/%s, made %s", config.OS, config.Architecture, config.Created)
	}
	if want := (map[string]string{
		"org.opencontainers.image.title":       "streamlatch",
		"org.opencontainers.image.description": "One live event stream per client, in Envoy: a proxy-wasm filter",
		"org.opencontainers.image.version":     "v1.2.3",
		"org.opencontainers.image.revision":    sample.Commit.ID,
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.source":      "https://github.com/streamlatch/streamlatch",
	}); !maps.Equal(config.Config.Labels, want) {
		t.Errorf("labels\n got %q\nwant %q", config.Config.Labels, want)
	}

	zipped, err := gzip.NewReader(bytes.NewReader(files[layerName].content))
	if err != nil {
		t.Fatal(err)
	}
	layer, err := io.ReadAll(zipped)
	if err != nil {
		t.Fatal(err)
	}
	if got := config.RootFS.DiffIDs; len(got) != 1 || got[0] != digest(layer) {
		t.Errorf("layers %q, want %s", got, digest(layer))
	}
	inside := untar(t, layer)
	if plugin := inside["plugin.wasm"]; len(inside) != 1 || !bytes.Equal(plugin.content, sample.Wasm) ||
		plugin.header.Mode != 0o644 || plugin.header.Uid != 0 || plugin.header.Gid != 0 || !plugin.header.ModTime.Equal(sample.Commit.Time) {
		t.Errorf("the layer has %q, and plugin.wasm is %+v, %q", inside.names(), plugin.header, plugin.content)
	}

	forDocker := decode[[]dockerImage](t, files, "manifest.json")
	if len(forDocker) != 1 || forDocker[0].Config != configName || !slices.Equal(forDocker[0].Layers, []string{layerName}) ||
		!slices.Equal(forDocker[0].RepoTags, []string{sample.Name}) {
		t.Errorf("manifest.json: %+v, want %s with %s and %s", forDocker, sample.Name, configName, layerName)
	}
}

func TestArchiveIsReproducible(t *testing.T) {
	first, err := sample.Archive()
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := sample
	elsewhere.Commit.Time = elsewhere.Commit.Time.In(time.FixedZone("elsewhere", 3600))
	if second, err := elsewhere.Archive(); err != nil || !bytes.Equal(first, second) {
		t.Errorf("another time zone makes other bytes, or an error: %v", err)
	}
	changed := sample
	changed.Wasm = []byte("\x00asm and so forth")
	if second, err := changed.Archive(); err != nil || bytes.Equal(first, second) {
		t.Errorf("another module makes the same bytes, or an error: %v", err)
	}
}

func TestArchiveWithoutRevision(t *testing.T) {
	image := sample
	image.Commit.ID = ""
	if labels := image.labels(); len(labels) != 5 || labels["org.opencontainers.image.revision"] != "" {
		t.Errorf("labels %q, want none for the revision", labels)
	}
}

func TestImageName(t *testing.T) {
	for name, valid := range map[string]bool{
		"streamlatch:v1.2.3":                         true,
		"streamlatch:dc1945d-dirty":                  true,
		"registry.example/streamlatch:1":             true,
		"registry.example:5000/gateway/latch:v1_x.y": true,
		"localhost/a/b/c:1":                          true,
		"":                                           false,
		"streamlatch":                                false,
		"registry.example:5000/streamlatch":          false,
		"Streamlatch:v1":                             false,
		"stream latch:v1":                            false,
		"streamlatch:v1+build":                       false,
		"streamlatch:" + strings.Repeat("v", 129):    false,
		"streamlatch:v1\n":                           false,
	} {
		image := sample
		image.Name = name
		if _, err := image.Archive(); (err == nil) != valid {
			t.Errorf("%q: got %v, want valid: %t", name, err, valid)
		}
	}
}

type entry struct {
	header  *tar.Header
	content []byte
	place   int
}

type entries map[string]entry

func (e entries) names() []string {
	names := make([]string, len(e))
	for name, f := range e {
		names[f.place] = name
	}
	return names
}

func untar(t *testing.T, text []byte) entries {
	t.Helper()
	files := entries{}
	for reader := tar.NewReader(bytes.NewReader(text)); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := files[header.Name]; ok {
			t.Fatalf("%s is there twice", header.Name)
		}
		files[header.Name] = entry{header, content, len(files)}
	}
}

// follow returns the path of the blob that a descriptor describes.
func follow(t *testing.T, files entries, d descriptor, mediaType string) string {
	t.Helper()
	name := "blobs/" + strings.Replace(d.Digest, ":", "/", 1)
	f, ok := files[name]
	if !ok || d.MediaType != mediaType || d.Size != len(f.content) || d.Digest != digest(f.content) {
		t.Fatalf("%+v, want type %s and a blob of that size and digest; it has %d bytes", d, mediaType, len(f.content))
	}
	return name
}

func decode[T any](t *testing.T, files entries, name string) (document T) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(files[name].content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&document); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return document
}
