package cluster

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
)

// image is a container image with nothing but a few files in it.
type image struct {
	ref        string            // as containerd knows it
	files      map[string]string // sources, by their absolute paths in the image
	entrypoint []string
	cmd        []string
}

// write makes a tar file of the image in the OCI layout, as `ctr images import` takes it. Nothing in
// it depends on the time, so that equal contents have equal digests.
func (i image) write(file string) error {
	layer, err := i.layer()
	if err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	l := layout{tar.NewWriter(f), nil}
	l.put("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	rootfs := l.blob("application/vnd.oci.image.layer.v1.tar", layer)
	platform := map[string]any{"architecture": runtime.GOARCH, "os": "linux"}
	config := l.blob("application/vnd.oci.image.config.v1+json", encode(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": i.entrypoint, "Cmd": i.cmd, "Env": []string{"PATH=/usr/local/bin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []any{rootfs["digest"]}},
	}))
	manifest := l.blob("application/vnd.oci.image.manifest.v1+json", encode(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": config, "layers": []any{rootfs},
	}))
	manifest["platform"] = platform
	manifest["annotations"] = map[string]any{"io.containerd.image.name": i.ref}
	l.put("index.json", encode(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []any{manifest},
	}))
	if l.err != nil {
		return l.err
	}
	if err := l.tar.Close(); err != nil {
		return err
	}
	return f.Close()
}

// layer is the root file system. /tmp is there for programs that want one.
func (i image) layer() ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	made := map[string]bool{"/": true}
	var mkdir func(dir string, mode int64) error
	mkdir = func(dir string, mode int64) error {
		if made[dir] {
			return nil
		}
		if err := mkdir(path.Dir(dir), 0o755); err != nil {
			return err
		}
		made[dir] = true
		return w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(dir, "/") + "/", Typeflag: tar.TypeDir, Mode: mode})
	}
	if err := mkdir("/tmp", 0o1777); err != nil {
		return nil, err
	}
	var names []string
	for name := range i.files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := mkdir(path.Dir(name), 0o755); err != nil {
			return nil, err
		}
		f, err := os.Open(i.files[name])
		if err != nil {
			return nil, err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		h := &tar.Header{Name: strings.TrimPrefix(name, "/"), Typeflag: tar.TypeReg, Mode: 0o755, Size: info.Size()}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := io.Copy(w, f); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), w.Close()
}

// layout collects the files of an OCI layout, and the first error.
type layout struct {
	tar *tar.Writer
	err error
}

func (l *layout) put(name string, b []byte) {
	if l.err == nil {
		l.err = l.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(b))})
	}
	if l.err == nil {
		_, l.err = l.tar.Write(b)
	}
}

// blob adds a blob and gives its descriptor.
func (l *layout) blob(mediaType string, b []byte) map[string]any {
	sum := sha256.Sum256(b)
	digest := hex.EncodeToString(sum[:])
	l.put("blobs/sha256/"+digest, b)
	return map[string]any{"mediaType": mediaType, "digest": "sha256:" + digest, "size": len(b)}
}

// encode is JSON of what has no way to fail.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
