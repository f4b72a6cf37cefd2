package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// sbomPath is where scanners look for a bill of materials in an image.
const sbomPath = "usr/share/sbom/penstock.cdx.json"

// sbom is the bill of materials of a binary, in CycloneDX: the modules that the linker wrote into it,
// and Go itself. Names are package URLs, by which vulnerability databases know them.
func sbom(binary []byte, a about) ([]byte, error) {
	info, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		return nil, fmt.Errorf("modules of the binary: %w", err)
	}
	digest := sha256.Sum256(binary)
	self := component(cdx.ComponentTypeApplication, info.Main.Path, a.version)
	self.Licenses = &cdx.Licenses{{Expression: licenceExpression}}
	self.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(digest[:])}}

	parts := []cdx.Component{component(cdx.ComponentTypeLibrary, "std", strings.TrimPrefix(info.GoVersion, "go"))}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		parts = append(parts, component(cdx.ComponentTypeLibrary, m.Path, m.Version))
	}
	refs := make([]string, len(parts))
	for i, p := range parts {
		refs[i] = p.BOMRef
	}
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Timestamp: a.created.Format(time.RFC3339), Component: &self}
	bom.Components = &parts
	bom.Dependencies = &[]cdx.Dependency{{Ref: self.BOMRef, Dependencies: &refs}}
	var out bytes.Buffer
	// Not the newest version of the format: scanners lag behind.
	err = cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_5)
	return out.Bytes(), err
}

func component(kind cdx.ComponentType, path, version string) cdx.Component {
	// The specification wants a version's + escaped: it means a space elsewhere.
	purl := "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
	return cdx.Component{Type: kind, BOMRef: purl, Name: path, Version: version, PackageURL: purl}
}

// writeSBOM writes the bill of materials in the layers beside the archive as well.
func (o options) writeSBOM(p v1.Platform, layers []layer) error {
	name := strings.TrimSuffix(o.out, ".tar") + "-" + p.Architecture + ".cdx.json"
	for _, l := range layers {
		for _, f := range l.files {
			if f.path == sbomPath {
				return os.WriteFile(name, f.data, f.mode)
			}
		}
	}
	return fmt.Errorf("%s: no bill of materials to write", name)
}
