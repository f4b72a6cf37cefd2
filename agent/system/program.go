package system

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/bpf"
)

// ProgramOf tells which program a configuration loads, read before it is.
func ProgramOf(c *config.Config) (api.ProgramStatus, error) {
	own, err := digest(bpf.Sources)
	if err != nil {
		return api.ProgramStatus{}, err
	}
	p := api.ProgramStatus{Compiled: c.Datapath.Compile, Digest: own}
	if !p.Compiled || c.Datapath.Sources == "" {
		return p, nil
	}
	p.Sources = c.Datapath.Sources
	if p.Digest, err = digest(os.DirFS(p.Sources)); err != nil {
		return p, fmt.Errorf("datapath.sources %s: %w", p.Sources, err)
	}
	p.Changed = p.Digest != own
	return p, nil
}

// digest is the beginning of the SHA-256 of a directory's C files.
func digest(dir fs.FS) (string, error) {
	var names []string
	for _, pattern := range []string{"*.c", "*.h"} {
		found, err := fs.Glob(dir, pattern)
		if err != nil {
			return "", err
		}
		names = append(names, found...)
	}
	slices.Sort(names)
	h := sha256.New()
	for _, name := range names {
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n%s", name, len(text), text)
	}
	return hex.EncodeToString(h.Sum(nil)[:4]), nil
}
