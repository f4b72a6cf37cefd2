package agent

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/manifests"
	"github.com/penstock-lb/penstock/agent/nexthop"
	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps"
)

// Real returns the dependencies of an agent that works on this node. configs
// gave cfg, level is the log's.
func Real(cfg *config.Config, configs Configs, version string, level *slog.LevelVar, log *slog.Logger) Deps {
	part := func(name string) *slog.Logger { return log.With("part", name) }
	return Deps{
		Version:  version,
		Source:   manifests.New(cfg.Source.Directory, part("manifests")),
		Resolver: nexthop.New(part("nexthop")),
		System:   Kernel{},
		Configs:  configs,
		Level:    level,
		Load: func(c *config.Config) (Datapath, Tables, error) {
			return load(c, log)
		},
		Speaker: func(c *config.Config, restarting bool) (Speaker, error) {
			return newSpeaker(c, restarting, part("bgp"))
		},
	}
}

func load(c *config.Config, log *slog.Logger) (Datapath, Tables, error) {
	lb, err := bpf.Load(bpfConfig(c), log.With("part", "bpf"))
	if err != nil {
		return nil, nil, err
	}
	tables, err := maps.Open(lb, mapsOptions(c), log.With("part", "maps"))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open tables: %w", err), lb.Close())
	}
	return lb, tables, nil
}

// newSpeaker returns a speaker that says nothing where BGP is not configured.
func newSpeaker(c *config.Config, restarting bool, log *slog.Logger) (Speaker, error) {
	if c.BGP.ASN == 0 && len(c.BGP.Peers) == 0 {
		return mute{}, nil
	}
	own, err := ownAddrs()
	if err != nil {
		return nil, err
	}
	id, err := routerID(c, own)
	if err != nil {
		return nil, err
	}
	speaker, err := bgp.New(bgpConfig(c, id, restarting), log)
	if err != nil {
		return nil, err // not the nil pointer, which would be a Speaker
	}
	return speaker, nil
}
