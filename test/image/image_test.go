package image

import (
	"bytes"
	"crypto/x509"
	"debug/buildinfo"
	"debug/elf"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

var labels = map[string]string{
	"org.opencontainers.image.title":       "penstock",
	"org.opencontainers.image.description": "Layer 4 load balancer for the front of an on-premises Kubernetes cluster",
	"org.opencontainers.image.version":     version,
	"org.opencontainers.image.revision":    revision,
	"org.opencontainers.image.created":     "2025-06-15T15:06:40Z",
	"org.opencontainers.image.licenses":    "Apache-2.0 AND (GPL-2.0-only OR BSD-2-Clause)",
	"org.opencontainers.image.source":      "https://github.com/penstock-lb/penstock",
}

var config = v1.Config{
	User:       "0:0",
	Entrypoint: []string{"/usr/local/bin/penstock"},
	Cmd:        []string{"agent"},
	Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
	WorkingDir: "/",
	Labels:     labels,
}

// TestIndex: every digest and size in the archive is right, and it says what it is.
func TestIndex(t *testing.T) {
	idx, names := index(t, built(t))
	if err := validate.Index(idx); err != nil {
		t.Error(err)
	}
	want := map[string]string{"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": version}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("names in index.json (-want +got):\n%s", diff)
	}
	m, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(labels, m.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
}

func TestConfig(t *testing.T) {
	all := images(t, built(t))
	if len(all) != len(platforms) {
		t.Errorf("%d images, want %d", len(all), len(platforms))
	}
	for _, p := range platforms {
		got, err := all[p].ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(config, got.Config); diff != "" {
			t.Errorf("%s (-want +got):\n%s", p, diff)
		}
		if got.Platform().String() != p || got.Created.Unix() != 1750000000 {
			t.Errorf("%s: the image is for %s and of %s", p, got.Platform(), got.Created)
		}
	}
}

// TestBinary: a kernel of the platform runs it, with nothing else there, and it names no folder it was built in.
func TestBinary(t *testing.T) {
	machines := map[string]elf.Machine{"linux/amd64": elf.EM_X86_64, "linux/arm64": elf.EM_AARCH64}
	here, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range platforms {
		name := filepath.Join(rootfs(t, p), binaryPath)
		f, err := elf.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if f.Machine != machines[p] {
			t.Errorf("%s: the binary is for %s", p, f.Machine)
		}
		for _, prog := range f.Progs {
			if prog.Type == elf.PT_INTERP || prog.Type == elf.PT_DYNAMIC {
				t.Errorf("%s: the binary is not static: it has a segment %s", p, prog.Type)
			}
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte(here+"/")) {
			t.Errorf("%s: the binary names the folder %s", p, here)
		}
	}
}

// TestRun starts the binary with nothing but the image's files around it.
func TestRun(t *testing.T) {
	dir := rootfs(t, "linux/amd64")
	cmd := exec.Command("/"+binaryPath, "version")
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: dir}
	cmd.Dir, cmd.Env = "/", config.Env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("penstock version: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), version) {
		t.Errorf("penstock version says %q, want %s in it", out, version)
	}
}

// TestLicences asks the binary itself what is in it.
func TestLicences(t *testing.T) {
	for _, p := range platforms {
		dir := rootfs(t, p)
		info, err := buildinfo.ReadFile(filepath.Join(dir, binaryPath))
		if err != nil {
			t.Fatal(err)
		}
		if len(info.Deps) == 0 {
			t.Errorf("%s: the binary names no modules", p)
		}
		want := []string{
			info.Main.Path + "/LICENSE", info.Main.Path + "/bpf/LICENSE", info.Main.Path + "/bpf/LICENSE.BSD-2-Clause",
			"go@" + info.GoVersion + "/LICENSE",
		}
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			want = append(want, m.Path+"@"+m.Version+"/*[LlIiCcEeNn][NnIiCcSsYy]*")
		}
		for _, w := range want {
			found, err := filepath.Glob(filepath.Join(dir, licencesPath, w))
			if err != nil {
				t.Fatal(err)
			}
			if len(found) == 0 {
				t.Errorf("%s: no licence at %s", p, w)
			}
		}
	}
}

// TestSBOM compares the bill of materials with what the binary says is in it.
func TestSBOM(t *testing.T) {
	for _, p := range platforms {
		dir := rootfs(t, p)
		info, err := buildinfo.ReadFile(filepath.Join(dir, binaryPath))
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go")}
		for _, m := range info.Deps {
			want = append(want, "pkg:golang/"+m.Path+"@"+strings.ReplaceAll(m.Version, "+", "%2B"))
		}
		data, err := os.ReadFile(filepath.Join(dir, sbomPath))
		if err != nil {
			t.Fatal(err)
		}
		bom := new(cdx.BOM)
		if err := cdx.NewBOMDecoder(bytes.NewReader(data), cdx.BOMFileFormatJSON).Decode(bom); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range *bom.Components {
			got = append(got, c.PackageURL)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-binary +bill):\n%s", p, diff)
		}
		self, hash := bom.Metadata.Component, fmt.Sprintf("%x", sum(t, filepath.Join(dir, binaryPath)))
		if self.Version != version || (*self.Hashes)[0].Value != hash {
			t.Errorf("%s: the bill is of version %s, binary %s, want %s, %s", p, self.Version, (*self.Hashes)[0].Value, version, hash)
		}
	}
}

// TestRoots reads the root certificates as crypto/x509 does in the image.
func TestRoots(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(rootfs(t, "linux/amd64"), rootsPath))
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if !cert.IsCA || time.Now().After(cert.NotAfter) {
			t.Errorf("%s: is a CA: %t, ends %s", cert.Subject, cert.IsCA, cert.NotAfter)
		}
		count++
	}
	if count < 80 {
		t.Errorf("%d root certificates, want at least 80", count)
	}
}
