package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"regexp"
	"time"
)

// An Image is the plugin's image. It has one layer with one file, /plugin.wasm: the path where
// Istio and Envoy Gateway look for a filter.
type Image struct {
	Name    string // with a tag, such as streamlatch:v1.2.3: the name of the loaded image
	Wasm    []byte // the module
	Version string // the module's version, for a label
	Commit  Commit // the commit of the module's source
}

// The media types. Istio accepts no other layer type in an OCI image: see its
// pkg/wasm/imagefetcher.go.
const (
	indexType    = "application/vnd.oci.image.index.v1+json"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// imageName matches a name with a tag, and perhaps a registry. Engines are stricter in rare cases.
var imageName = regexp.MustCompile(`^([a-zA-Z0-9.-]+(:[0-9]+)?/)?[a-z0-9._-]+(/[a-z0-9._-]+)*:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}$`)

// Archive returns the image as a tar of an OCI image layout, which `podman load` and `docker load`
// accept. It also has manifest.json, for releases of docker that do not read OCI layouts. The same
// image gives the same bytes.
//
// See https://github.com/opencontainers/image-spec/blob/main/image-layout.md
func (i Image) Archive() ([]byte, error) {
	if !imageName.MatchString(i.Name) {
		return nil, fmt.Errorf("image %q: want a name in lower case and a tag, such as registry.example/streamlatch:v1", i.Name)
	}
	at := i.Commit.Time.UTC()
	layer, err := archive(at, file{"plugin.wasm", i.Wasm})
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", i.Name, err)
	}
	zipped, err := compress(layer)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", i.Name, err)
	}
	config := encode(imageConfig{
		Created: at.Format(time.RFC3339),
		// The format requires a platform. A fixed one gives the same bytes on every machine.
		Architecture: "amd64", OS: "linux",
		Config:  labels{i.labels()},
		RootFS:  rootFS{Type: "layers", DiffIDs: []string{digest(layer)}},
		History: []history{{Created: at.Format(time.RFC3339), CreatedBy: "COPY plugin.wasm /plugin.wasm"}},
	})
	manifest := encode(imageManifest{
		SchemaVersion: 2, MediaType: manifestType,
		Config: describe(configType, config),
		Layers: []descriptor{describe(layerType, zipped)},
	})
	entry := describe(manifestType, manifest)
	entry.Annotations = map[string]string{"org.opencontainers.image.ref.name": i.Name}
	whole, err := archive(at,
		file{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		file{"index.json", encode(imageIndex{SchemaVersion: 2, MediaType: indexType, Manifests: []descriptor{entry}})},
		file{"manifest.json", encode([]dockerImage{{Config: blob(config), RepoTags: []string{i.Name}, Layers: []string{blob(zipped)}}})},
		file{blob(manifest), manifest},
		file{blob(config), config},
		file{blob(zipped), zipped},
	)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", i.Name, err)
	}
	return whole, nil
}

func (i Image) labels() map[string]string {
	labels := map[string]string{
		"org.opencontainers.image.title":       "streamlatch",
		"org.opencontainers.image.description": "One live event stream per client, in Envoy: a proxy-wasm filter",
		"org.opencontainers.image.version":     i.Version,
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.source":      "https://github.com/streamlatch/streamlatch",
	}
	if i.Commit.ID != "" {
		labels["org.opencontainers.image.revision"] = i.Commit.ID
	}
	return labels
}

// The JSON documents of an image, without the fields for images that are run.
type (
	imageIndex struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Manifests     []descriptor `json:"manifests"`
	}
	imageManifest struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Config        descriptor   `json:"config"`
		Layers        []descriptor `json:"layers"`
	}
	descriptor struct {
		MediaType   string            `json:"mediaType"`
		Digest      string            `json:"digest"`
		Size        int               `json:"size"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	imageConfig struct {
		Created      string    `json:"created"`
		Architecture string    `json:"architecture"`
		OS           string    `json:"os"`
		Config       labels    `json:"config"`
		RootFS       rootFS    `json:"rootfs"`
		History      []history `json:"history"`
	}
	labels struct {
		Labels map[string]string
	}
	rootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	}
	history struct {
		Created   string `json:"created"`
		CreatedBy string `json:"created_by"`
	}
	dockerImage struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
)

func describe(mediaType string, content []byte) descriptor {
	return descriptor{MediaType: mediaType, Digest: digest(content), Size: len(content)}
}

func digest(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

// blob returns the path of a content in the layout.
func blob(content []byte) string { return fmt.Sprintf("blobs/sha256/%x", sha256.Sum256(content)) }

func encode(document any) []byte {
	text, err := json.Marshal(document)
	if err != nil {
		panic(fmt.Sprintf("release: %T does not encode: %v", document, err)) // it consists of strings and numbers
	}
	return text
}

type file struct {
	name    string
	content []byte
}

// archive returns a tar of the files, owned by root and readable by everybody.
func archive(at time.Time, files ...file) ([]byte, error) {
	var buffer bytes.Buffer
	writer := tar.NewWriter(&buffer)
	for _, f := range files {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Size: int64(len(f.content)), Mode: 0o644, ModTime: at, Format: tar.FormatUSTAR}
		if err := writer.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := writer.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}

// compress returns content in gzip format, without a file name and a time.
func compress(content []byte) ([]byte, error) {
	var buffer bytes.Buffer
	writer, err := gzip.NewWriterLevel(&buffer, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := writer.Write(content); err != nil {
		return nil, err
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}
