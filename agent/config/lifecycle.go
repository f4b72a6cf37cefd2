package config

import (
	"fmt"
	"math"
	"path/filepath"
	"time"

	"github.com/penstock-lb/penstock/bgp"
)

// Drain is what routes have that are to be the last choice, beside GRACEFUL_SHUTDOWN.
type Drain struct {
	MED     uint32 // 0: as it is
	Prepend uint8
}

// Damping is that of RFC 2439, of our own announcements. A withdrawal is 1000.
type Damping struct {
	Enabled         bool
	HalfLife        time.Duration
	Suppress, Reuse uint32
	Max             time.Duration
}

// defaultDrain has the MED one below the highest, which some routers take for none at all.
func defaultDrain() Drain { return Drain{MED: 1<<32 - 2} }

func defaultDamping() Damping {
	return Damping{HalfLife: 2 * time.Minute, Suppress: 2500, Reuse: 750, Max: 10 * time.Minute}
}

// lifecycle checks what becomes of routes over a node's life.
func (b *BGP) lifecycle() (found faults) {
	within(&found, "bgp.drain.prepend", b.Drain.Prepend, 0, bgp.MaxPrepend)
	within(&found, "bgp.warmup", b.Warmup, 0, time.Hour)
	d := b.Damping
	within(&found, "bgp.damping.halfLife", d.HalfLife, time.Second, time.Hour)
	within(&found, "bgp.damping.max", d.Max, time.Second, 24*time.Hour)
	if within(&found, "bgp.damping.reuse", d.Reuse, 1, 1_000_000) && d.Suppress <= d.Reuse {
		found.add("bgp.damping.suppress", fmt.Sprint(d.Suppress), "write more than bgp.damping.reuse, which is %d", d.Reuse)
	} else if least := d.leastMax(); len(found) == 0 && d.Max <= least {
		found.add("bgp.damping.max", d.Max.String(), "no penalty can get above bgp.damping.suppress with it; write more than %s", least.Round(time.Second))
	}
	return found
}

// leastMax is the time in which a penalty decays from one threshold to the other: it is not to
// get higher than decays to the lower one within Max (RFC 2439, 4.2).
func (d Damping) leastMax() time.Duration {
	return time.Duration(math.Log2(float64(d.Suppress)/float64(d.Reuse)) * float64(d.HalfLife))
}

// DrainFile is where the drain by command is remembered: beside the history, or where
// there is none beside the socket. Both are on a file system that a reboot empties, by
// default: what is to outlast one is the Node's, by cordon or taint.
func (c *Config) DrainFile() string {
	dir := filepath.Dir(c.API.Socket)
	if c.Source.History != "" {
		dir = filepath.Dir(c.Source.History)
	}
	return filepath.Join(dir, "drain.json")
}

// AcceptLocalFile is where an LB node's agent remembers what it changed of devices' settings,
// beside the socket, so that it can be put back in the end.
func (c *Config) AcceptLocalFile() string { return AcceptLocalFile(c.API.Socket) }

// AcceptLocalFile is that of the agent with this socket.
func AcceptLocalFile(socket string) string {
	return filepath.Join(filepath.Dir(socket), "accept_local")
}
