// Package release makes the files of a release of Streamlatch. One of them is the plugin's image.
//
// A release is reproducible: the same commit, version and Go toolchain give the same bytes. Every
// time in the files is the time of the commit.
package release

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// The files of a release.
const (
	Module       = "streamlatch.wasm"           // the filter
	Checksum     = "streamlatch.wasm.sha256"    // for `sha256sum -c`
	Plugin       = "streamlatch-plugin.oci.tar" // see [Image.Archive]
	LicensesFile = "THIRD_PARTY_LICENSES"       // see [Licenses]
)

// versionText matches a semantic version with a leading v. Build metadata is not allowed, because
// the tag of an image cannot contain a plus sign.
var versionText = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?$`)

// Check returns the commit that is checked out in the directory root. It is an error if the version
// is malformed, if a file differs from the commit, or if another commit has the version's tag.
func Check(ctx context.Context, root, version string) (Commit, error) {
	if !versionText.MatchString(version) {
		return Commit{}, fmt.Errorf("VERSION is %q, want a semantic version with a v, such as v1.2.3 or v1.2.3-rc.1: make release VERSION=v1.2.3", version)
	}
	head, err := Head(ctx, root)
	if err != nil {
		return Commit{}, fmt.Errorf("a release needs a commit: %w", err)
	}
	return head, errors.Join(clean(ctx, root, head), untagged(ctx, root, version, head))
}

// Make replaces the directory dir by one with the files of a release. root is the directory of the
// repository, and wasm is the path of the module, built there with this version. The errors of
// [Check] apply. After an error dir is unchanged.
func Make(ctx context.Context, root, version, wasm, dir string) error {
	commit, err := Check(ctx, root, version)
	if err != nil {
		return err
	}
	module, err := os.ReadFile(wasm)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no %s: run `make release VERSION=%s`, which builds it", wasm, version)
	}
	if err != nil {
		return err
	}
	plugin, err := Image{Name: "streamlatch:" + version, Wasm: module, Version: version, Commit: commit}.Archive()
	if err != nil {
		return err
	}
	licenses, err := Licenses(ctx, root, "./filter", version)
	if err != nil {
		return err
	}
	return replace(dir,
		file{Module, module},
		file{Checksum, fmt.Appendf(nil, "%x  %s\n", sha256.Sum256(module), Module)},
		file{Plugin, plugin},
		file{LicensesFile, []byte(licenses)})
}

// replace replaces dir by a directory with these files.
func replace(dir string, files ...file) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), filepath.Base(dir)+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	if err := os.Chmod(fresh, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(fresh, f.name), f.content, 0o644); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(fresh, dir)
}
