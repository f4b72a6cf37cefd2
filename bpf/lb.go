package bpf

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
)

// Config is what a program is loaded with. All of it is fixed until the next Load.
type Config struct {
	Pins         string // a directory on a bpffs
	DiscardFlows bool   // let go of pinned flows of another schema

	Compile bool   // build with the node's clang instead of taking what came with the binary
	Clang   string // its name or path
	Sources string // directory of the C files, empty for the embedded ones

	Seed            [16]byte // of the flow hash
	Ports           PortRange
	Timeouts        Timeouts
	UnmatchedReject bool   // answer what has no frontend or backend with an ICMP error
	ICMPRate        uint32 // ICMP errors per second and CPU
	TunnelPort      uint16 // of UDP; 0: no tunnels
	BounceRate      uint32 // bounces that are sent on, per second and CPU

	// Capacities. Pinned maps keep the size that they were made with.
	MaxFrontends, MaxBackends, MaxRows, MaxFlows, MaxChains, MaxLearned, MaxSourceRanges uint32
}

// PortRange is inclusive at both ends.
type PortRange struct{ First, Last uint16 }

// Timeouts say how long a flow may be idle, by its state.
type Timeouts struct{ SYN, Established, Closing, Closed, UDP time.Duration }

// LB is the loaded program with its maps. It is not safe for concurrent use.
type LB struct {
	log   *slog.Logger
	pins  *Pins
	prog  *ebpf.Program
	maps  map[string]*ebpf.Map
	dirs  []string // of the groups in use
	links map[string]*attached
}

// Load compiles if asked to, opens or creates the pinned maps and loads the
// program. Packets see nothing of it before Attach.
func Load(cfg Config, log *slog.Logger) (_ *LB, err error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, withCapabilities(fmt.Errorf("raise the limit of locked memory: %w", err))
	}
	spec, err := specFor(cfg)
	if err != nil {
		return nil, err
	}
	pins, err := OpenPins(cfg.Pins)
	if err != nil {
		return nil, err
	}
	lb := &LB{log: log, pins: pins, maps: make(map[string]*ebpf.Map), links: make(map[string]*attached)}
	defer func() {
		if err != nil {
			err = errors.Join(err, lb.Discard())
		}
	}()
	if err := checkState(pins.Dir, spec, cfg.DiscardFlows); err != nil {
		return nil, err
	}
	for _, g := range []group{tables, state} {
		maps, dir, err := g.open(pins, spec)
		if err != nil {
			return nil, explain(err, spec)
		}
		lb.dirs = append(lb.dirs, dir)
		for name, m := range maps {
			lb.adopt(name, m, spec)
		}
	}
	if err := lb.widenReplyPorts(cfg.Ports); err != nil {
		return nil, err
	}
	if err := lb.loadProgram(spec); err != nil {
		return nil, explain(err, spec)
	}
	return lb, nil
}

// adopt takes a map as it is: its size is part of it.
func (lb *LB) adopt(name string, m *ebpf.Map, spec *ebpf.CollectionSpec) {
	lb.maps[name] = m
	if want := spec.Maps[name]; m.MaxEntries() != want.MaxEntries {
		lb.log.Warn("pinned map keeps its size until `penstock cleanup` or a reboot",
			"map", name, "entries", m.MaxEntries(), "configured", want.MaxEntries)
		want.MaxEntries = m.MaxEntries()
	}
}

// widenReplyPorts adds a range to those that flows may have: flows outlive a
// configuration. Nothing narrows it while the flows are pinned.
func (lb *LB) widenReplyPorts(r PortRange) error {
	m, key := lb.maps[lbMapReplyPorts], uint32(0)
	var have lbPortRange
	if err := m.Lookup(key, &have); err != nil {
		return fmt.Errorf("reply_ports: %w", err)
	}
	if have.Last == 0 {
		have = lbPortRange{First: r.First, Last: r.Last}
	}
	have.First, have.Last = min(have.First, r.First), max(have.Last, r.Last)
	if err := m.Put(key, have); err != nil {
		return fmt.Errorf("reply_ports: %w", err)
	}
	return nil
}

func (lb *LB) loadProgram(spec *ebpf.CollectionSpec) error {
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: lb.maps})
	if err != nil {
		if refused, ok := errors.AsType[*ebpf.VerifierError](err); ok {
			// Apart from the error: of what a pod said last only so much is shown.
			lb.log.Error("the kernel's verifier refuses the program", "log", strings.Join(refused.Log[max(0, len(refused.Log)-30):], "\n"))
			return fmt.Errorf("the kernel's verifier refuses the program: %w", refused)
		}
		return fmt.Errorf("load the program: %w", err)
	}
	lb.prog = coll.DetachProgram(lbProgLb)
	coll.Close()
	return nil
}

// specFor is the program with cfg's sizes and switches.
func specFor(cfg Config) (*ebpf.CollectionSpec, error) {
	load := loadLb
	if cfg.Compile {
		load = func() (*ebpf.CollectionSpec, error) { return compile(cfg.Clang, cfg.Sources) }
	}
	spec, err := load()
	if err != nil {
		return nil, err
	}
	for name, entries := range map[string]uint32{
		lbMapFrontends:       cfg.MaxFrontends,
		lbMapServices:        cfg.MaxFrontends,
		lbMapRegions:         cfg.MaxFrontends,
		lbMapBackends:        cfg.MaxBackends,
		lbMapBackendIndices:  cfg.MaxBackends,
		lbMapBackendCounters: cfg.MaxBackends,
		lbMapSources:         cfg.MaxSourceRanges,
		lbMapSlots:           cfg.MaxRows / SlotsPerLine,
		lbMapRanks:           cfg.MaxRows,
		lbMapChains:          cfg.MaxChains,
		lbMapLearned:         cfg.MaxLearned,
		lbMapFlows:           2 * cfg.MaxFlows, // an entry for each direction
	} {
		if entries != 0 {
			spec.Maps[name].MaxEntries = entries
		}
	}
	if cfg.Ports.First == 0 || cfg.Ports.Last < cfg.Ports.First {
		return nil, fmt.Errorf("nat.ports %d-%d is no range of ports", cfg.Ports.First, cfg.Ports.Last)
	}
	var errs []error
	for name, value := range map[string]any{
		lbVarSeed:            cfg.Seed,
		lbVarPortMin:         cfg.Ports.First,
		lbVarPortCount:       uint32(cfg.Ports.Last-cfg.Ports.First) + 1,
		lbVarIcmpRate:        cfg.ICMPRate,
		lbVarTunnelPort:      Htons(cfg.TunnelPort),
		lbVarBounceRate:      cfg.BounceRate,
		lbVarUnmatchedReject: cfg.UnmatchedReject,
		lbVarTimeouts:        cfg.Timeouts.ticks(),
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			errs = append(errs, fmt.Errorf("set %s: %w", name, err))
		}
	}
	return spec, errors.Join(errs...)
}

// ticks are in the order of enum flow_state.
func (t Timeouts) ticks() (ticks [FlowStates]uint32) {
	for state, d := range map[lbFlowState]time.Duration{
		lbFlowStateFLOW_NEW:         t.SYN,
		lbFlowStateFLOW_ESTABLISHED: t.Established,
		lbFlowStateFLOW_CLOSING:     t.Closing,
		lbFlowStateFLOW_CLOSED:      t.Closed,
		lbFlowStateFLOW_UDP:         t.UDP,
	} {
		ticks[state] = uint32((d + 1<<TickShift - 1) >> TickShift)
	}
	return ticks
}

// Timeout tells, in ticks, how long a flow of that state may be idle.
func (t Timeouts) Timeout(state uint8) uint32 {
	if int(state) >= FlowStates {
		return 0
	}
	return t.ticks()[state]
}

// Map returns one of the maps by its name in maps.h, which the LB keeps open.
func (lb *LB) Map(name string) *ebpf.Map { return lb.maps[name] }

// Program returns the loaded program, which the LB keeps open.
func (lb *LB) Program() *ebpf.Program { return lb.prog }

// Schema names the layouts in use, as in "tables-0123abcd state-4567ef01".
func (lb *LB) Schema() string {
	return filepath.Base(lb.dirs[0]) + " " + filepath.Base(lb.dirs[1])
}

// Close lets go of everything and leaves the pins, so that forwarding goes on.
func (lb *LB) Close() error {
	var errs []error
	for _, a := range lb.links {
		errs = append(errs, a.link.Close())
	}
	for _, m := range lb.maps {
		errs = append(errs, m.Close())
	}
	if lb.prog != nil {
		errs = append(errs, lb.prog.Close())
	}
	return errors.Join(append(errs, lb.pins.Close())...)
}

// Discard is Close for an agent whose start has failed: it removes the pins that Load made.
func (lb *LB) Discard() error { return errors.Join(lb.pins.fresh.remove(), lb.Close()) }
