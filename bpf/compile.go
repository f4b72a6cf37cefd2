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

// Sources are the programs' C files, as in this directory.
//
//go:embed *.c *.h
var Sources embed.FS

// ExportSources writes the C files into dir, for changing them on site.
func ExportSources(dir string) error { return os.CopyFS(dir, Sources) }

// compile builds the LB node's program, see compileEntry.
func compile(clang, dir string) (*ebpf.CollectionSpec, error) {
	return compileEntry(clang, dir, "lb.bpf.c", loadLb, []group{tables, state})
}

// compileEntry builds a program from dir, or from the embedded sources where dir is
// empty, with the node's clang. Its maps must be laid out as those of the program
// that came with the binary.
func compileEntry(clang, dir, entry string, own func() (*ebpf.CollectionSpec, error), groups []group) (*ebpf.CollectionSpec, error) {
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
	} else if _, err := os.Stat(filepath.Join(dir, entry)); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("datapath.sources %s has no %s:"+
			" write the sources there with `penstock sources %s`", dir, entry, dir)
	}
	object := filepath.Join(tmp, "program.o")
	args := append(strings.Fields(compilerFlags), "-c", entry, "-o", object)
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile %s/%s with %s: %w\n%s", dir, entry, path, err, out)
	}
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		return nil, fmt.Errorf("compiled %s/%s: %w", dir, entry, err)
	}
	builtin, err := own()
	if err != nil {
		return nil, err
	}
	return spec, sameLayout(builtin, spec, groups)
}

// compilerFlags are those of go:generate in gen.go.
const compilerFlags = "-O2 -g -Wall -Werror -target bpfel -mcpu=v3" +
	" -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu"

// sameLayout makes sure that this binary, whose own program is own, understands the
// maps of spec.
func sameLayout(own, spec *ebpf.CollectionSpec, groups []group) error {
	for _, g := range groups {
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
				" changes to types.h, node_types.h and to the maps need a build of penstock itself", g.name, got, want)
		}
	}
	return nil
}
