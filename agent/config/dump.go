package config

import (
	"github.com/penstock-lb/penstock/agent/advertise"
	"github.com/penstock-lb/penstock/agent/ipam"
)

// Dump is a configuration as text by key, in which secrets show as such.
type Dump struct {
	Values         map[string]string   `json:"values"`
	Peers          []map[string]string `json:"peers"`
	Advertisements []map[string]string `json:"advertisements"`
	Pools          []map[string]string `json:"pools"`
}

// InForce is what an agent works with: of the keys that need a restart what it booted with, of
// the others what it has taken over since.
func InForce(booted, current *Config) Dump {
	d := Dump{
		Values: map[string]string{}, Peers: dumpList(current.BGP.Peers, peerSettings),
		Advertisements: dumpList(current.BGP.Advertisements, advertisementSettings), Pools: dumpList(current.Pools, poolSettings),
	}
	for _, s := range settings {
		from := booted
		if s.Live {
			from = current
		}
		d.Values[s.Name] = s.at(from).String()
	}
	return d
}

func dumpList[C any](list []C, settings []setting[C]) []map[string]string {
	out := make([]map[string]string, len(list))
	for i := range list {
		out[i] = map[string]string{}
		for _, s := range settings {
			out[i][s.Name] = s.at(&list[i]).String()
		}
	}
	return out
}

// Config reads a Dump back. What another version has that this one has not is left out.
func (d Dump) Config() (*Config, error) {
	var found faults
	cfg := Default()
	for _, s := range settings {
		if text, ok := d.Values[s.Name]; ok {
			set(&found, s.at(cfg), s.Name, text)
		}
	}
	cfg.BGP.Peers = readList(&found, peersKey, d.Peers, defaultPeer, peerSettings)
	cfg.BGP.Advertisements = readList(&found, advertisementsKey, d.Advertisements, defaultAdvertisement, advertisementSettings)
	cfg.Pools = readList(&found, poolsKey, d.Pools, defaultPool, poolSettings)
	return cfg, found.join()
}

func readList[C Peer | ipam.Pool | advertise.Entry](found *faults, key string, list []map[string]string, empty func() C, settings []setting[C]) []C {
	out := make([]C, len(list))
	for i, entry := range list {
		out[i] = empty()
		for _, s := range settings {
			if text, ok := entry[s.Name]; ok {
				set(found, s.at(&out[i]), entryKey(key, i, s.Name), text)
			}
		}
	}
	return out
}
