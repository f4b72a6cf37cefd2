package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// about is what the image says about itself.
type about struct {
	version  string
	revision string
	created  time.Time
}

// fromCommit fills in what the commit says. SOURCE_DATE_EPOCH and SOURCE_REVISION do where there is no
// repository, as in a release's source archive.
func (a *about) fromCommit(ctx context.Context) error {
	revision, epoch := os.Getenv("SOURCE_REVISION"), os.Getenv("SOURCE_DATE_EPOCH")
	if revision == "" || epoch == "" {
		out, err := exec.CommandContext(ctx, "git", "log", "-1", "--format=%H %ct").Output()
		if err != nil {
			return fmt.Errorf("git log: %w: without a git repository set SOURCE_DATE_EPOCH and SOURCE_REVISION", err)
		}
		hash, seconds, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
		if revision == "" {
			revision = hash
		}
		if epoch == "" {
			epoch = seconds
		}
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH %q is no number of seconds: %w", epoch, err)
	}
	a.revision, a.created = revision, time.Unix(seconds, 0).UTC()
	return nil
}

// licenceExpression is Penstock's own, in SPDX: the BPF programs have a choice of their own.
const licenceExpression = "Apache-2.0 AND (GPL-2.0-only OR BSD-2-Clause)"

// labels are those of the OCI image specification; the index has them as annotations.
func (a about) labels() map[string]string {
	const prefix = "org.opencontainers.image."
	return map[string]string{
		prefix + "title":       "penstock",
		prefix + "description": "Layer 4 load balancer for the front of an on-premises Kubernetes cluster",
		prefix + "version":     a.version,
		prefix + "revision":    a.revision,
		prefix + "created":     a.created.Format(time.RFC3339),
		prefix + "licenses":    licenceExpression,
		prefix + "source":      "https://github.com/penstock-lb/penstock",
	}
}

func newImage(p v1.Platform, layers []layer, a about) (v1.Image, error) {
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	var parts []mutate.Addendum
	for _, l := range layers {
		blob, err := l.blob()
		if err != nil {
			return nil, fmt.Errorf("layer of %s: %w", l.comment, err)
		}
		parts = append(parts, mutate.Addendum{
			Layer:   blob,
			History: v1.History{Created: v1.Time{Time: a.created}, CreatedBy: "hack/image", Comment: l.comment},
		})
	}
	img, err := mutate.Append(base, parts...)
	if err != nil {
		return nil, err
	}
	old, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config := old.DeepCopy()
	config.OS, config.Architecture, config.Variant = p.OS, p.Architecture, p.Variant
	config.Created = v1.Time{Time: a.created}
	config.Config = v1.Config{
		// Root, with the few capabilities that its pod has: others would need them on the file.
		User:       "0:0",
		Entrypoint: []string{"/" + binaryPath},
		Cmd:        []string{"agent"},
		Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		WorkingDir: "/",
		Labels:     a.labels(),
	}
	return mutate.ConfigFile(img, config)
}

// blob packs the layer. Its folders come before what is in them, since some engines make none.
func (l layer) blob() (v1.Layer, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	made := map[string]bool{".": true}
	for _, f := range l.files {
		for _, dir := range parents(f.path) {
			if !made[dir] {
				made[dir] = true
				if err := add(w, tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o755}, nil); err != nil {
					return nil, err
				}
			}
		}
		if err := add(w, tar.Header{Name: f.path, Mode: int64(f.mode)}, f.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(out.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
}

// parents are the folders above a file, the outermost first.
func parents(name string) []string {
	var dirs []string
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		dirs = append(dirs, dir)
	}
	slices.Reverse(dirs)
	return dirs
}

// add writes an entry of 1970 that belongs to root.
func add(w *tar.Writer, h tar.Header, data []byte) error {
	h.Size, h.ModTime, h.Format = int64(len(data)), time.Unix(0, 0), tar.FormatPAX
	if err := w.WriteHeader(&h); err != nil {
		return err
	}
	_, err := w.Write(data)
	return err
}
