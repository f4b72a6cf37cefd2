package bpf

import (
	"fmt"
	"strings"
	"sync"

	"github.com/cilium/ebpf/btf"
)

// VerdictName is one value of enum verdict.
type VerdictName struct {
	Name   string // as in "drop_malformed"
	Action string // what became of the packet: pass, forward, encap, reply, icmp, probe, deliver, bounce, return, reject, drop or abort
}

// Verdicts lists the names by their number. They are read from the program's own
// BTF, so they can't fall behind it.
var Verdicts = sync.OnceValues(func() ([]VerdictName, error) {
	spec, err := loadLb()
	if err != nil {
		return nil, err
	}
	var enum *btf.Enum
	if err := spec.Types.TypeByName("verdict", &enum); err != nil {
		return nil, fmt.Errorf("enum verdict: %w", err)
	}
	names := make([]VerdictName, 0, len(enum.Values))
	for i, v := range enum.Values {
		name, ok := strings.CutPrefix(v.Name, "VERDICT_")
		if !ok { // VERDICTS, the number of them
			continue
		}
		if v.Value != uint64(i) {
			return nil, fmt.Errorf("enum verdict: %s is %d, not %d", v.Name, v.Value, i)
		}
		name = strings.ToLower(name)
		action, _, _ := strings.Cut(name, "_")
		names = append(names, VerdictName{Name: name, Action: action})
	}
	return names, nil
})
