package bpf

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
)

// NodeConfig is what an ingress node's programs are loaded with. All of it is fixed
// until the next LoadNode.
type NodeConfig struct {
	Pins         string // a directory on a bpffs
	DiscardFlows bool   // let go of pinned flows of another schema

	Compile bool   // build with the node's clang instead of taking what came with the binary
	Clang   string // its name or path
	Sources string // directory of the C files, empty for the embedded ones

	TunnelPort uint16 // of UDP
	Timeouts   Timeouts

	// Capacities. Pinned maps keep the size that they were made with.
	MaxFlows, MaxYoungFlows, MaxPods uint32
}

// The programs of an ingress node.
const (
	NodeXDP     = nodeProgBackend      // takes packets out of the tunnel, in XDP
	NodeIngress = nodetcProgBackendIn  // the same in tc
	NodeEgress  = nodetcProgBackendOut // gives pods' replies the VIP's source
)

var nodeGroups = []group{
	{"node-tables", []string{
		nodeMapMembers, nodeMapPods, nodeMapNodeSettings, nodeMapVerdicts, nodeMapNodeEvents,
	}, []string{"verdict", "node_event"}},
	{"node-state", []string{nodeMapNodeFlows, nodeMapYoungFlows, nodeMapCollisions, nodeMapFragments}, nil},
}

// Node is an ingress node's loaded programs with their maps. It is not safe for
// concurrent use.
type Node struct {
	log      *slog.Logger
	pins     *Pins
	programs map[string]*ebpf.Program
	maps     map[string]*ebpf.Map
	dirs     []string // of the groups in use
	hooks    map[string]*nodeHooks
}

// LoadNode compiles if asked to, opens or creates the pinned maps and loads the
// programs. Packets see nothing of it before Attach.
func LoadNode(cfg NodeConfig, log *slog.Logger) (_ *Node, err error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, withCapabilities(fmt.Errorf("raise the limit of locked memory: %w", err))
	}
	specs, err := nodeSpecsFor(cfg)
	if err != nil {
		return nil, err
	}
	pins, err := OpenPins(cfg.Pins)
	if err != nil {
		return nil, err
	}
	n := &Node{log: log, pins: pins, programs: make(map[string]*ebpf.Program),
		maps: make(map[string]*ebpf.Map), hooks: make(map[string]*nodeHooks)}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Discard())
		}
	}()
	if err := nodeGroups[1].check(pins.Dir, specs[0], cfg.DiscardFlows); err != nil {
		return nil, err
	}
	for _, g := range nodeGroups {
		maps, dir, err := g.open(pins, specs[0])
		if err != nil {
			return nil, explain(err, specs...)
		}
		n.dirs = append(n.dirs, dir)
		for name, m := range maps {
			n.adopt(name, m, specs)
		}
	}
	for _, spec := range specs {
		if err := n.loadPrograms(spec); err != nil {
			return nil, explain(err, spec)
		}
	}
	return n, nil
}

// adopt takes a map as it is: its size is part of it.
func (n *Node) adopt(name string, m *ebpf.Map, specs []*ebpf.CollectionSpec) {
	n.maps[name] = m
	if want := specs[0].Maps[name].MaxEntries; m.MaxEntries() != want {
		n.log.Warn("pinned map keeps its size until `penstock cleanup` or a reboot",
			"map", name, "entries", m.MaxEntries(), "configured", want)
	}
	for _, spec := range specs {
		spec.Maps[name].MaxEntries = m.MaxEntries()
	}
}

func (n *Node) loadPrograms(spec *ebpf.CollectionSpec) error {
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: n.maps})
	if err != nil {
		if refused, ok := errors.AsType[*ebpf.VerifierError](err); ok {
			// Apart from the error: of what a pod said last only so much is shown.
			n.log.Error("the kernel's verifier refuses the program", "log", strings.Join(refused.Log[max(0, len(refused.Log)-30):], "\n"))
			return fmt.Errorf("the kernel's verifier refuses the program: %w", refused)
		}
		return fmt.Errorf("load the ingress node's programs: %w", err)
	}
	for name := range spec.Programs {
		n.programs[name] = coll.DetachProgram(name)
	}
	coll.Close()
	return nil
}

// nodeSpecsFor are the XDP and the tc programs with cfg's sizes and switches.
func nodeSpecsFor(cfg NodeConfig) ([]*ebpf.CollectionSpec, error) {
	if cfg.TunnelPort == 0 {
		return nil, errors.New("tunnel.port 0: an ingress node needs the UDP port of the tunnel")
	}
	var specs []*ebpf.CollectionSpec
	for _, p := range []struct {
		entry string
		load  func() (*ebpf.CollectionSpec, error)
	}{{"backend.bpf.c", loadNode}, {"backend_tc.bpf.c", loadNodetc}} {
		load := p.load
		if cfg.Compile {
			load = func() (*ebpf.CollectionSpec, error) {
				return compileEntry(cfg.Clang, cfg.Sources, p.entry, p.load, nodeGroups)
			}
		}
		spec, err := load()
		if err != nil {
			return nil, err
		}
		if err := configureNode(spec, cfg); err != nil {
			return nil, err
		}
		specs = append(specs, spec)
	}
	return specs, nil
}

func configureNode(spec *ebpf.CollectionSpec, cfg NodeConfig) error {
	for name, entries := range map[string]uint32{
		nodeMapNodeFlows:  cfg.MaxFlows,
		nodeMapYoungFlows: cfg.MaxYoungFlows,
		nodeMapPods:       cfg.MaxPods,
	} {
		if entries != 0 {
			spec.Maps[name].MaxEntries = entries
		}
	}
	var errs []error
	for name, value := range map[string]any{
		nodeVarTunnelPort: Htons(cfg.TunnelPort),
		nodeVarTimeouts:   cfg.Timeouts.ticks(),
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			errs = append(errs, fmt.Errorf("set %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// Map returns one of the maps by its name in node_maps.h, which the Node keeps open.
func (n *Node) Map(name string) *ebpf.Map { return n.maps[name] }

// Program returns NodeXDP, NodeIngress or NodeEgress, which the Node keeps open.
func (n *Node) Program(name string) *ebpf.Program { return n.programs[name] }

// Schema names the layouts in use, as in "node-tables-0123abcd node-state-4567ef01".
func (n *Node) Schema() string {
	return filepath.Base(n.dirs[0]) + " " + filepath.Base(n.dirs[1])
}

// Settle removes what older programs left, once every device has these.
func (n *Node) Settle() error { return pruneGroups(nodeGroups, n.pins.Dir, n.dirs...) }

// Close lets go of everything and leaves the pins, so that flows go on.
func (n *Node) Close() error {
	var errs []error
	for _, h := range n.hooks {
		errs = append(errs, h.close())
	}
	for _, m := range n.maps {
		errs = append(errs, m.Close())
	}
	for _, p := range n.programs {
		errs = append(errs, p.Close())
	}
	return errors.Join(append(errs, n.pins.Close())...)
}

// Discard is Close for an agent whose start has failed: it removes the pins that LoadNode made.
func (n *Node) Discard() error { return errors.Join(n.pins.fresh.remove(), n.Close()) }

// OpenNodeTables opens the pinned maps for reading, for whoever looks while no agent
// runs. The caller closes them.
func OpenNodeTables(pins string) (map[string]*ebpf.Map, error) {
	return openGroups(loadNode, nodeGroups, pins)
}
