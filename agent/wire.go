package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"github.com/penstock-lb/penstock/agent/cluster"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/gateway"
	"github.com/penstock-lb/penstock/agent/history"
	"github.com/penstock-lb/penstock/agent/manifests"
	"github.com/penstock-lb/penstock/agent/nexthop"
	"github.com/penstock-lb/penstock/agent/probe"
	"github.com/penstock-lb/penstock/agent/system"
	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps"
)

// Real returns the dependencies of an agent of a version that works on this node. The
// configuration is the caller's to add.
func Real(cfg *config.Config, version string, log *slog.Logger) (Deps, error) {
	part := func(name string) *slog.Logger { return log.With("part", name) }
	id, idErr := routerID(cfg)
	deps := Deps{
		Version:  version,
		Resolver: nexthop.New(part("nexthop")),
		Gateways: gateway.New(part("gateway")),
		Prober:   probe.New(probeOptions(cfg), part("probe")),
		History: func(c *config.Config) History {
			return history.Open(c.Source.History, history.Options{Retention: c.Chains.Retention, Rows: c.Datapath.Rows}, part("history"))
		},
		System:   system.Kernel{},
		Martians: system.AcceptLocal{File: cfg.AcceptLocalFile()},
		RouterID: id,
		Load: func(c *config.Config) (Datapath, Tables, error) {
			return load(c, log)
		},
		Speaker: func(c *config.Config, restarting bool) (Speaker, error) {
			switch {
			case c.BGP.ASN == 0 && len(c.BGP.Peers) == 0:
				return mute{}, nil
			case idErr != nil:
				return nil, idErr
			}
			return newSpeaker(bgpConfig(c, id, restarting), part("bgp"))
		},
	}
	if cfg.Source.Kind != config.SourceKubernetes {
		deps.Source = manifests.New(cfg.Source.Directory, part("manifests"))
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
	lb, err := bpf.Load(bpfConfig(c), log.With("part", "bpf"))
	if err != nil {
		return nil, nil, err
	}
	tables, err := maps.Open(lb, mapsOptions(c), log.With("part", "maps"))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open tables: %w", err), lb.Discard())
	}
	return lb, tables, nil
}

func newSpeaker(c bgp.Config, log *slog.Logger) (Speaker, error) {
	speaker, err := bgp.New(c, log)
	if err != nil {
		return nil, err // not the nil pointer, which would be a Speaker
	}
	return speaker, nil
}

// routerID is the configured one, or the node's first IPv4 address.
func routerID(c *config.Config) (netip.Addr, error) {
	if c.BGP.RouterID.IsValid() {
		return c.BGP.RouterID, nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("read the node's addresses: %w", err)
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
			return p.Addr(), nil
		}
	}
	return netip.Addr{}, errors.New("this node has no IPv4 address to make a BGP identifier of; set bgp.routerID")
}
