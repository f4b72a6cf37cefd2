package bpf

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// oldest is the kernel below which nothing is tried by us.
var oldest = [2]int{6, 1}

// kernel answers what the running kernel can do. What an answer is no is an
// ebpf.ErrNotSupported; other errors tell nothing.
type kernel struct {
	release func() string
	program func(ebpf.ProgramType) error
	helper  func(ebpf.ProgramType, asm.BuiltinFunc) error
	mapType func(ebpf.MapType) error
}

var running = kernel{release, features.HaveProgramType, features.HaveProgramHelper, features.HaveMapType}

func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "of an unknown release"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// explain adds to the error of a load what this process lacks or, if nothing, its kernel.
func explain(err error, specs ...*ebpf.CollectionSpec) error {
	if with := withCapabilities(err); with != err { //nolint:errorlint // it is the same one if nothing was added
		return with
	}
	return running.explain(err, specs...)
}

func (k kernel) explain(err error, specs ...*ebpf.CollectionSpec) error {
	release := k.release()
	if lacks := k.lacks(specs); len(lacks) > 0 {
		return fmt.Errorf("kernel %s lacks %s, which Penstock needs: run Linux %d.%d or later on this node: %w",
			release, strings.Join(lacks, ", "), oldest[0], oldest[1], err)
	}
	if old(release) {
		return fmt.Errorf("kernel %s is too old: run Linux %d.%d or later on this node: %w", release, oldest[0], oldest[1], err)
	}
	return err
}

func old(release string) bool {
	var major, minor int
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n != 2 {
		return false
	}
	return major < oldest[0] || major == oldest[0] && minor < oldest[1]
}

// lacks names the kinds of programs and maps, and the helpers, that specs use and the kernel
// has not.
func (k kernel) lacks(specs []*ebpf.CollectionSpec) (names []string) {
	asked := map[string]bool{}
	ask := func(name string, have func() error) {
		if asked[name] {
			return
		}
		asked[name] = true
		if errors.Is(have(), ebpf.ErrNotSupported) {
			names = append(names, name)
		}
	}
	for _, spec := range specs {
		for _, m := range spec.Maps {
			ask("maps of type "+m.Type.String(), func() error { return k.mapType(m.Type) })
		}
		for _, p := range spec.Programs {
			ask("programs of type "+p.Type.String(), func() error { return k.program(p.Type) })
			for _, ins := range p.Instructions {
				if fn := asm.BuiltinFunc(ins.Constant); ins.IsBuiltinCall() {
					ask("bpf_"+helperName(fn)+" in "+p.Type.String(), func() error { return k.helper(p.Type, fn) })
				}
			}
		}
	}
	slices.Sort(names)
	return names
}

// helperName is as in C: FnMapLookupElem is map_lookup_elem.
func helperName(fn asm.BuiltinFunc) string {
	var b strings.Builder
	for i, r := range strings.TrimPrefix(fn.String(), "Fn") {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}
