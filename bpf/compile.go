package bpf

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
)

// Sources are the program's C files, as in this directory.
//
//go:embed *.c *.h
var Sources embed.FS

// ExportSources writes the C files into dir, for changing them on site.
func ExportSources(dir string) error { return os.CopyFS(dir, Sources) }

// compile builds the program from dir, or from the embedded sources where dir is
// empty, with the node's clang.
func compile(clang, dir string) (*ebpf.CollectionSpec, error) {
	path, err := exec.LookPath(clang)
	if err != nil {
		return nil, fmt.Errorf("datapath.compile needs clang, and datapath.clang %q is not there:"+
			" install clang, libbpf-dev and linux-libc-dev, or set datapath.compile: false"+
			" to use the program that came with this binary: %w", clang, err)
	}
	tmp, err := os.MkdirTemp("", "penstock-compile-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	if dir == "" {
		dir = tmp
		if err := ExportSources(dir); err != nil {
			return nil, err
		}
	} else if _, err := os.Stat(filepath.Join(dir, "lb.bpf.c")); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("datapath.sources %s has no lb.bpf.c:"+
			" write the sources there with `penstock sources %s`", dir, dir)
	}
	object := filepath.Join(tmp, "lb.o")
	args := append(strings.Fields(compilerFlags), "-c", "lb.bpf.c", "-o", object)
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile %s/lb.bpf.c with %s: %w\n%s", dir, path, err, out)
	}
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		return nil, fmt.Errorf("compiled %s/lb.bpf.c: %w", dir, err)
	}
	return spec, sameLayout(spec)
}

// compilerFlags are those of go:generate in gen.go.
const compilerFlags = "-O2 -g -Wall -Werror -target bpfel -mcpu=v3" +
	" -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu"

// sameLayout makes sure that this binary understands the maps of spec.
func sameLayout(spec *ebpf.CollectionSpec) error {
	own, err := loadLb()
	if err != nil {
		return err
	}
	for _, g := range []group{tables, state} {
		want, err := g.schema(own)
		if err != nil {
			return err
		}
		got, err := g.schema(spec)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("the compiled program lays out its %s differently (schema %s) from this binary (%s):"+
				" changes to types.h and to the maps need a build of penstock itself", g.name, got, want)
		}
	}
	return nil
}
