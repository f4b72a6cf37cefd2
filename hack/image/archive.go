package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// writeArchive packs the images, says what they are, and puts the archive in its place only when it is whole.
func (o options) writeArchive(images []v1.Image, stdout io.Writer) error {
	dir, err := os.MkdirTemp(filepath.Dir(o.out), ".image-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	index, err := o.writeLayout(filepath.Join(dir, "layout"), images)
	if err != nil {
		return fmt.Errorf("OCI layout: %w", err)
	}
	packed := filepath.Join(dir, "tar")
	if err := pack(packed, filepath.Join(dir, "layout")); err != nil {
		return fmt.Errorf("pack %s: %w", o.out, err)
	}
	if err := os.Rename(packed, o.out); err != nil {
		return err
	}
	return o.report(stdout, index)
}

// writeLayout writes the OCI layout: an index of the platforms, which containerd and skopeo find by its
// names, and beside it Docker's manifest.json over the same blobs.
func (o options) writeLayout(dir string, images []v1.Image) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for i, img := range images {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &o.platforms[i]}})
	}
	index, ok := mutate.Annotations(index, o.about.labels()).(v1.ImageIndex)
	if !ok {
		return nil, errors.New("annotated index is none any more")
	}
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		return nil, err
	}
	err = l.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          "docker.io/" + repository + ":" + o.about.version,
		"org.opencontainers.image.ref.name": o.about.version,
	}))
	if err != nil {
		return nil, err
	}
	manifest, err := o.dockerManifest(images)
	if err != nil {
		return nil, err
	}
	return index, l.WriteFile("manifest.json", manifest, 0o644)
}

// dockerManifest is for versions of Docker that know no index: the first platform has the plain tag, the
// others have their architecture behind it.
func (o options) dockerManifest(images []v1.Image) ([]byte, error) {
	var all tarball.Manifest
	for i, img := range images {
		tag := repository + ":" + o.about.version
		if i > 0 {
			tag += "-" + o.platforms[i].Architecture
		}
		m, err := img.Manifest()
		if err != nil {
			return nil, err
		}
		d := tarball.Descriptor{Config: blobPath(m.Config.Digest), RepoTags: []string{tag}}
		for _, l := range m.Layers {
			d.Layers = append(d.Layers, blobPath(l.Digest))
		}
		all = append(all, d)
	}
	return json.Marshal(all)
}

func blobPath(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

// pack makes a tar of a layout: what readers look for first in front, then the blobs by name.
func pack(out, dir string) error {
	names := []string{"oci-layout", "index.json", "manifest.json"}
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs", "*", "*"))
	if err != nil {
		return err
	}
	for _, b := range blobs {
		names = append(names, strings.TrimPrefix(b, dir+"/"))
	}
	f, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if err := add(w, tar.Header{Name: name, Mode: 0o644}, data); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), f.Close())
}

// report prints what was built: the reference, and of each platform its digest and what a node pulls.
func (o options) report(stdout io.Writer, index v1.ImageIndex) error {
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s: %s:%s\n", o.out, repository, o.about.version)
	fmt.Fprintf(stdout, "%-12s %s\n", "index", digest)
	for _, d := range manifest.Manifests {
		img, err := index.Image(d.Digest)
		if err != nil {
			return err
		}
		m, err := img.Manifest()
		if err != nil {
			return err
		}
		size := d.Size + m.Config.Size
		for _, l := range m.Layers {
			size += l.Size
		}
		fmt.Fprintf(stdout, "%-12s %s %5.1f MB\n", d.Platform, d.Digest, float64(size)/1e6)
	}
	return nil
}
