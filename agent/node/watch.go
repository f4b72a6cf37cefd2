package node

import (
	"fmt"
	"slices"
	"time"

	"github.com/penstock-lb/penstock/agent/system"
)

const (
	// watchEvery is how often that is looked at which nobody tells of.
	watchEvery = 5 * time.Second
	// quietAfter is more than the longest tunnel.probeInterval and a look; no multiple of
	// watchEvery, so that a tick that is a little early does not cost another.
	quietAfter = 18 * time.Second
)

// watched is what the loop saw at its last look.
type watched struct {
	families map[string]bool // of pods whose packets the kernel forwards
	probes   uint64          // counted so far; of a program from before the agent too
	since    time.Time       // that none has come in; zero before the first look
	quiet    string          // what is said of it
}

// watch tells whether a pass has something new to report: the kernel forwards or does not,
// probes come in or do not. A link that is down, a firewall and another tunnel.port look alike
// from here: nothing comes.
func (a *Agent) watch(now time.Time) bool {
	before := a.seen.quiet
	a.listen(now)
	if !a.synced {
		return false
	}
	off := system.ForwardingOff(a.deps.System, a.seen.families, a.uplinks.status(), "packets to pods")
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.seen.quiet != before || !slices.Equal(off, a.status.Datapath.Forwarding)
}

// listen notes whether LB nodes' probes have come in since the last look.
func (a *Agent) listen(now time.Time) {
	counts, err := a.Verdicts()
	if err != nil {
		return
	}
	probes := a.seen.probes
	for _, c := range counts {
		if c.Name == "probe_answered" {
			probes = c.Packets
		}
	}
	if probes != a.seen.probes || a.seen.since.IsZero() {
		a.seen.probes, a.seen.since, a.seen.quiet = probes, now, ""
	}
	if now.Sub(a.seen.since) >= quietAfter {
		a.seen.quiet = fmt.Sprintf("no LB node's probe has come in since %s: see that they run and know this node, that the uplinks "+
			"are up, that tunnel.port is %d there too, and that no firewall drops that UDP port",
			a.seen.since.UTC().Format(time.RFC3339), a.booted.Tunnel.Port)
	}
}
