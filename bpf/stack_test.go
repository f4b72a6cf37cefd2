package bpf

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// stackMax is what functions that call each other may have on the stack together, in bytes; stackUnit is what
// kernel 6.1 rounds each one's share up to (check_max_stack_depth in kernel/bpf/verifier.c), and newer ones to less.
const (
	stackMax  = 512
	stackUnit = 32
)

// function is what a function of a program has on the stack, and whom it calls.
type function struct {
	bytes int
	calls map[string]bool
}

// functions takes a program apart.
func functions(prog asm.Instructions) (main string, all map[string]*function) {
	all = map[string]*function{}
	var f *function
	for i, ins := range prog {
		if name := ins.Symbol(); name != "" {
			f = &function{calls: map[string]bool{}}
			all[name] = f
			if main == "" {
				main = name
			}
		}
		class := ins.OpCode.Class()
		switch {
		case ins.IsFunctionCall(), ins.IsLoadOfFunctionPointer(): // to be called back
			f.calls[ins.Reference()] = true
		case class.IsLoad() && ins.Src == asm.RFP, class.IsStore() && ins.Dst == asm.RFP:
			f.bytes = max(f.bytes, -int(ins.Offset))
		case i > 0 && isAddress(prog[i-1], ins):
			f.bytes = max(f.bytes, -int(ins.Constant))
		}
	}
	return main, all
}

// isAddress says whether two instructions make an address on the stack: a copy of the frame pointer, and what is
// added to it.
func isAddress(mov, add asm.Instruction) bool {
	return mov.OpCode.Class().IsALU() && mov.OpCode.ALUOp() == asm.Mov && mov.Src == asm.RFP &&
		add.OpCode.Class().IsALU() && add.OpCode.ALUOp() == asm.Add && add.OpCode.Source() == asm.ImmSource && add.Dst == mov.Dst
}

// deepest is the most that a function and those that it calls have on the stack, and the way there.
func deepest(name string, all map[string]*function) (bytes int, way []string) {
	for called := range all[name].calls {
		if b, w := deepest(called, all); b > bytes {
			bytes, way = b, w
		}
	}
	own := (max(all[name].bytes, 1) + stackUnit - 1) / stackUnit * stackUnit
	return own + bytes, append([]string{name}, way...)
}

// Kernel 6.1 takes the programs, whatever kernel this is.
func TestStackFits(t *testing.T) {
	for object, load := range map[string]func() (*ebpf.CollectionSpec, error){"lb": loadLb, "node": loadNode, "nodetc": loadNodetc} {
		spec, err := load()
		if err != nil {
			t.Fatal(err)
		}
		for name, prog := range spec.Programs {
			main, all := functions(prog.Instructions)
			bytes, way := deepest(main, all)
			t.Logf("%s of %s: %d bytes in %d functions, %v", name, object, bytes, len(all), way)
			if bytes > stackMax || bytes < stackMax/2 { // so much each has
				t.Errorf("%s of %s has %d bytes on the stack, of %d, by %v", name, object, bytes, stackMax, way)
			}
		}
	}
}
