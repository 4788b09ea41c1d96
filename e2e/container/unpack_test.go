//go:build container

package container

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// image is an image, read from its archive.
type image struct {
	ID     string // the digest of its configuration
	Config struct {
		Config struct {
			Labels     map[string]string
			Entrypoint []string
			Cmd        []string
		} `json:"config"`
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	Layers [][]byte // tar archives
}

// saved returns an image that the engine has saved.
func saved(t *testing.T, tag string) image {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.tar")
	call(t, "save", "--output", file, tag)
	archive, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	files, err := untar(archive)
	if err != nil {
		t.Fatal(err)
	}
	i, err := unpack(files)
	if err != nil {
		t.Fatalf("archive of %s: %v", tag, err)
	}
	return i
}

// unpack reads both layouts in which engines save images: that of docker, with a manifest.json, and
// that of OCI, with an index.json. It checks that each layer has the digest that the configuration
// says.
func unpack(files map[string][]byte) (i image, err error) {
	config, layers, err := parts(files)
	if err != nil {
		return i, err
	}
	i.ID = digest(files[config])
	if err := json.Unmarshal(files[config], &i.Config); err != nil {
		return i, fmt.Errorf("%s: %w", config, err)
	}
	if len(layers) != len(i.Config.RootFS.DiffIDs) {
		return i, fmt.Errorf("got %d layers, want one for each digest in %q", len(layers), i.Config.RootFS.DiffIDs)
	}
	for n, name := range layers {
		layer := files[name]
		if zipped, err := gzip.NewReader(bytes.NewReader(layer)); err == nil {
			if layer, err = io.ReadAll(zipped); err != nil {
				return i, fmt.Errorf("%s: %w", name, err)
			}
		}
		if got, want := digest(layer), i.Config.RootFS.DiffIDs[n]; got != want {
			return i, fmt.Errorf("layer %s: got the digest %s, want %s", name, got, want)
		}
		i.Layers = append(i.Layers, layer)
	}
	return i, nil
}

// parts returns the names of the configuration and of the layers in the archive.
func parts(files map[string][]byte) (config string, layers []string, err error) {
	if text, ok := files["manifest.json"]; ok {
		var images []struct {
			Config string
			Layers []string
		}
		if err := json.Unmarshal(text, &images); err != nil || len(images) != 1 {
			return "", nil, fmt.Errorf("manifest.json: got %d images, want 1: %w", len(images), err)
		}
		return images[0].Config, images[0].Layers, nil
	}
	type blob struct{ Digest string }
	path := func(b blob) string { return "blobs/" + strings.Replace(b.Digest, ":", "/", 1) }
	var index struct{ Manifests []blob }
	if err := json.Unmarshal(files["index.json"], &index); err != nil || len(index.Manifests) != 1 {
		return "", nil, fmt.Errorf("index.json: got %d images, want 1: %w", len(index.Manifests), err)
	}
	var manifest struct {
		Config blob
		Layers []blob
	}
	if err := json.Unmarshal(files[path(index.Manifests[0])], &manifest); err != nil {
		return "", nil, err
	}
	for _, layer := range manifest.Layers {
		layers = append(layers, path(layer))
	}
	return path(manifest.Config), layers, nil
}

func digest(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// untar returns the files of an archive by name. For a link it returns the file that the link
// points to.
func untar(archive []byte) (map[string][]byte, error) {
	files := map[string][]byte{}
	links := map[string]string{}
	for reader := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		name := path.Clean(header.Name)
		switch header.Typeflag {
		case tar.TypeReg:
			if files[name], err = io.ReadAll(reader); err != nil {
				return nil, err
			}
		case tar.TypeSymlink:
			links[name] = path.Join(path.Dir(name), header.Linkname)
		}
	}
	for name, target := range links {
		files[name] = files[target]
	}
	return files, nil
}
