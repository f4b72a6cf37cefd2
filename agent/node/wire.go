package node

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/penstock-lb/penstock/agent/cluster"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/manifests"
	"github.com/penstock-lb/penstock/agent/system"
	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps"
)

// Real returns the dependencies of an agent of a version that works on this node. The
// configuration is the caller's to add.
func Real(cfg *config.Config, version string, log *slog.Logger) (Deps, error) {
	deps := Deps{
		Version: version,
		System:  system.Kernel{},
		Load: func(c *config.Config) (Datapath, Tables, error) {
			return load(c, log)
		},
	}
	if cfg.Source.Kind != config.SourceKubernetes {
		deps.Source = manifests.New(cfg.Source.Directory, log.With("part", "manifests"))
		return deps, nil
	}
	c, err := cluster.Connect(cfg, version, log)
	if err != nil {
		return Deps{}, err
	}
	deps.Source, deps.Cluster = c.Source(), c
	return deps, nil
}

func load(c *config.Config, log *slog.Logger) (Datapath, Tables, error) {
	n, err := bpf.LoadNode(bpfConfig(c), log.With("part", "bpf"))
	if err != nil {
		return nil, nil, err
	}
	tables, err := maps.OpenNode(n, maps.NodeOptions{Timeouts: timeouts(c)}, log.With("part", "maps"))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open tables: %w", err), n.Discard())
	}
	return n, tables, nil
}

// bpfConfig is what the programs are loaded with.
func bpfConfig(c *config.Config) bpf.NodeConfig {
	d, b := c.Datapath, c.Backend
	return bpf.NodeConfig{
		Pins:         d.BPFFS,
		DiscardFlows: d.DiscardFlows,
		Compile:      d.Compile,
		Clang:        d.Clang,
		Sources:      d.Sources,
		TunnelPort:   c.Tunnel.Port,
		Timeouts:     timeouts(c),
		MaxFlows:     b.MaxFlows, MaxYoungFlows: b.MaxYoungFlows,
	}
}

func timeouts(c *config.Config) bpf.Timeouts {
	t := c.Backend.Timeouts
	return bpf.Timeouts{SYN: t.SYN, Established: t.Established, Closing: t.Closing, Closed: t.Closed, UDP: t.UDP}
}
