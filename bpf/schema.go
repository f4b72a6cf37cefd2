package bpf

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// group is a set of maps that are pinned together and share a schema.
type group struct {
	name  string
	maps  []string
	enums []string // that give indices of the maps their meaning
}

var (
	tables = group{"tables", []string{
		lbMapFrontends, lbMapFrontendGeneration, lbMapRegions, lbMapSources, lbMapSlots, lbMapChains, lbMapRanks, lbMapBackends, lbMapTunnels, lbMapMembers,
		lbMapBackendIndices, lbMapServices,
		lbMapBackendCounters, lbMapVerdicts, lbMapDevices, lbMapLearned, lbMapLearnedFilter,
	}, []string{"verdict"}}
	state = group{"state", []string{lbMapFlows, lbMapFragments, lbMapReplyPorts}, nil}
)

// schema digests the layout of the group's maps: types, sizes, and the names,
// types and offsets of the fields. Capacities are no part of it.
func (g group) schema(spec *ebpf.CollectionSpec) (string, error) {
	h := sha256.New()
	for _, name := range g.maps {
		m := spec.Maps[name]
		if m == nil {
			return "", fmt.Errorf("map %s: not in the program", name)
		}
		fmt.Fprintf(h, "%s %s %d %d %d\n", name, m.Type, m.KeySize, m.ValueSize, m.Flags)
		writeType(h, m.Key)
		writeType(h, m.Value)
	}
	for _, name := range g.enums {
		t, err := spec.Types.AnyTypeByName(name)
		if err != nil {
			return "", fmt.Errorf("enum %s: %w", name, err)
		}
		writeType(h, t)
	}
	return hex.EncodeToString(h.Sum(nil)[:4]), nil
}

func writeType(w io.Writer, t btf.Type) {
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		fmt.Fprintf(w, "struct %s %d\n", t.Name, t.Size)
		writeMembers(w, t.Members)
	case *btf.Union:
		fmt.Fprintf(w, "union %d\n", t.Size)
		writeMembers(w, t.Members)
	case *btf.Array:
		fmt.Fprintf(w, "array %d\n", t.Nelems)
		writeType(w, t.Type)
	case *btf.Int:
		fmt.Fprintf(w, "int %d %d\n", t.Size, t.Encoding)
	case *btf.Enum:
		fmt.Fprintf(w, "enum %s %d %v\n", t.Name, t.Size, t.Values)
	case nil:
	default:
		fmt.Fprintf(w, "%T\n", t)
	}
}

func writeMembers(w io.Writer, members []btf.Member) {
	for _, m := range members {
		fmt.Fprintf(w, "%s %d ", m.Name, m.Offset)
		writeType(w, m.Type)
	}
}
