package bpf

import (
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

var errLoad = errors.New("invalid argument")

func TestKernelTooOld(t *testing.T) {
	lb, err := loadLb()
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		release string
		lacks   bool // helpers and kinds of maps
		says    string
	}{
		"helpers are missing": {"4.18.0-553.el8", true, "kernel 4.18.0-553.el8 lacks bpf_fib_lookup in XDP, maps of type LRUHash, which Penstock needs: run Linux 6.1"},
		"old":                 {"5.10.0-32-cloud-amd64", false, "kernel 5.10.0-32-cloud-amd64 is too old: run Linux 6.1"},
		"old enough":          {"6.0.19", false, "is too old"},
		"new enough":          {"6.1.0-40-amd64", false, ""},
		"much newer":          {"10.0.1", false, ""},
		"of another kind":     {"gVisor", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			no := func(is bool) error {
				if is && tt.lacks {
					return ebpf.ErrNotSupported
				}
				return errors.New("operation not permitted") // tells nothing
			}
			k := kernel{
				release: func() string { return tt.release },
				program: func(ebpf.ProgramType) error { return nil },
				helper:  func(_ ebpf.ProgramType, fn asm.BuiltinFunc) error { return no(fn == asm.FnFibLookup) },
				mapType: func(m ebpf.MapType) error { return no(m == ebpf.LRUHash) },
			}
			got := k.explain(errLoad, lb)
			if !errors.Is(got, errLoad) || !strings.Contains(got.Error(), tt.says) || (got.Error() == errLoad.Error()) != (tt.says == "") {
				t.Errorf("got %q, want it with %q", got, tt.says)
			}
		})
	}
}

// TestKernelOfHere asks the kernel of this machine, which has everything.
func TestKernelOfHere(t *testing.T) {
	var specs []*ebpf.CollectionSpec
	for _, load := range []func() (*ebpf.CollectionSpec, error){loadLb, loadNode, loadNodetc} {
		spec, err := load()
		if err != nil {
			t.Fatal(err)
		}
		specs = append(specs, spec)
	}
	if lacks := running.lacks(specs); len(lacks) > 0 {
		t.Errorf("this kernel lacks %v", lacks)
	}
	if err := running.explain(errLoad, specs...); err.Error() != errLoad.Error() {
		t.Errorf("it explains %v", err)
	}
	if lacks := running.lacks([]*ebpf.CollectionSpec{{Programs: map[string]*ebpf.ProgramSpec{
		"p": {Type: ebpf.XDP, Instructions: asm.Instructions{asm.BuiltinFunc(9999).Call()}},
	}}}); len(lacks) != 1 {
		t.Errorf("a helper that no kernel has: %v", lacks)
	}
}
