package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

const (
	binaryPath   = "usr/local/bin/penstock"
	rootsPath    = "etc/ssl/certs/ca-certificates.crt"
	licencesPath = "usr/share/licenses/penstock"

	mainPackage = "github.com/penstock-lb/penstock/cmd/penstock"
	rootsModule = "golang.org/x/crypto/x509roots/fallback"
)

// file is one file of the image; its path has no slash in front.
type file struct {
	path string
	mode fs.FileMode
	data []byte
}

type layer struct {
	comment string // for the image's history
	files   []file
}

// layers are the image's, in their order: what changes least often first, so that a node which has an
// older version pulls little more than the binary.
func (o options) layers(ctx context.Context, p v1.Platform) ([]layer, error) {
	texts, err := licences(ctx, p)
	if err != nil {
		return nil, err
	}
	data, err := o.compile(ctx, p)
	if err != nil {
		return nil, err
	}
	bill, err := sbom(data, o.about)
	if err != nil {
		return nil, err
	}
	return []layer{
		{"root certificates", []file{{rootsPath, 0o644, roots()}}},
		{"licences of what is linked into penstock", texts},
		{"penstock", []file{{binaryPath, 0o755, data}, {sbomPath, 0o644, bill}}},
	}, nil
}

// compile returns the static binary of a platform. Nothing of the environment's choices for Go is left in it.
func (o options) compile(ctx context.Context, p v1.Platform) ([]byte, error) {
	if o.binary != "" {
		return os.ReadFile(o.binary)
	}
	dir, err := os.MkdirTemp("", "penstock-image-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "penstock")
	_, err = goTool(ctx, p, "build", "-trimpath", "-ldflags", "-s -w -X main.version="+o.about.version, "-o", out, mainPackage)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(out)
}

// goTool runs the go command for a platform and returns what it prints.
func goTool(ctx context.Context, p v1.Platform, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.OS, "GOARCH="+p.Architecture,
		"GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=-buildvcs=false", "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", args[0], err, stderr.Bytes())
	}
	return out, nil
}

// roots is the certificate authorities that Mozilla trusts, as PEM. In a cluster the agent trusts the API
// server by its ServiceAccount's own; these are for a kubeconfig that names none. Those that Mozilla
// trusts for older certificates only are left out, as PEM cannot say so.
func roots() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			// A bytes.Buffer takes everything.
			_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})
		}
	}
	return out.Bytes()
}

// decodeAll reads the JSON values that stand one after another in data.
func decodeAll[T any](data []byte) ([]T, error) {
	var all []T
	for d := json.NewDecoder(bytes.NewReader(data)); ; {
		var v T
		switch err := d.Decode(&v); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, err
		}
		all = append(all, v)
	}
}
