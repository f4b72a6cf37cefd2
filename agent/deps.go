package agent

import (
	"context"
	"net/netip"
	"time"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/probe"
	"github.com/penstock-lb/penstock/agent/system"
	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps"
)

// Source is where the wanted state comes from.
type Source interface {
	Run(ctx context.Context) error // until ctx ends
	// Delta returns what changed since it was last called, at first everything, and
	// false until the source has read everything once.
	Delta() (desired.Delta, bool)
	Changed() <-chan struct{}
}

// Resolver finds next hops.
type Resolver interface {
	Run(ctx context.Context) error // until ctx ends
	Resolve(ctx context.Context, addrs []netip.Addr) map[netip.Addr]maps.NextHop
	// Add is Resolve for some more addresses than it was last called with.
	Add(ctx context.Context, addrs []netip.Addr) map[netip.Addr]maps.NextHop
	Changed() <-chan struct{}
}

// Prober finds out which ingress nodes answer.
type Prober interface {
	Run(ctx context.Context) error // until ctx ends
	// Set makes nodes the ones that are asked, and tells whether there are any of
	// which nothing is known yet.
	Set(nodes []probe.Target) (fresh bool)
	Await(ctx context.Context) // until something is known of each, or ctx ends
	Result() probe.Result
	Nodes() []probe.Node
	Err() error // why some cannot be asked
	Changed() <-chan struct{}
}

// History remembers what the source does not tell of endpoints. It is the loop's own.
type History interface {
	Observe(now time.Time, services []maps.Service) []maps.Service
	// Update is Observe for those that changed, and the names of those that are gone.
	Update(now time.Time, services []maps.Service, gone []string) []maps.Service
	Tunnels() map[netip.Addr]bool // to which endpoints had them
	Save() error
	Close() error
}

// Datapath is the loaded program.
type Datapath interface {
	Attach(device string, mode bpf.Mode) (bpf.Attachment, error)
	Detach(device string) error
	Attached() []string // devices with a pinned link, from before too
	Settle() error      // removes what older programs left
	Schema() string
	Remove() (devices []string, err error) // detaches everywhere and removes the pins
	Discard() error                        // Close, without the pins that loading made
	Close() error                          // leaves the pins in place
}

// Tables are the data path's maps.
type Tables interface {
	Sync(ctx context.Context, want maps.Want) error
	Sweep(ctx context.Context) (maps.SweepStats, error)
	Services() ([]maps.ServiceStatus, error)
	ServicesOf(names ...string) ([]maps.ServiceStatus, error) // namespace/name, or whole names
	Verdicts() ([]maps.VerdictCount, error)
	Flows() (maps.FlowStats, error)
	Usage() (maps.Usage, error) // for the loop alone, as the rest
	// Warnings is what services in force do without since the last Sync.
	Warnings() []*maps.ServiceError
	// NextChange is when time alone changes what Sync would write; zero: never.
	NextChange() time.Time
	RotateLearned() error // at least once a minute
	// Probe has the program place a flow to a frontend that came in by a device.
	Probe(s maps.Service, f maps.Frontend, ifindex uint32) (maps.ProbeResult, error)
	Close() error
}

// Speaker speaks BGP.
type Speaker interface {
	Run(ctx context.Context) error // until ctx ends
	Sync(ctx context.Context, want []bgp.Path) error
	SetPeers(ctx context.Context, peers []bgp.Peer) error
	Peers() []bgp.PeerState
	Routes() []bgp.Route
	Changed() <-chan struct{} // Peers
	Stop(ctx context.Context, mode bgp.StopMode, why string) error
}

// AcceptLocal turns net.ipv4.conf.DEVICE.accept_local on, and back to what it was; without names for
// all that it was turned on for.
type AcceptLocal interface {
	Set(device string) error
	Reset(devices ...string) error
}

// System is what the agent asks of the node's kernel beside the data path.
type System interface {
	// DefaultDevices names the devices of the default routes, sorted.
	DefaultDevices() ([]string, error)
	// Addresses returns the node's own addresses, each with its device.
	Addresses() (map[netip.Addr]string, error)
	// Ifindex returns an error that wraps fs.ErrNotExist for a missing interface.
	Ifindex(name string) (int, error)
	// Sysctl reads a setting, its name in slashes: "net/ipv4/ip_forward".
	Sysctl(name string) (string, error)
	// Device looks an interface up by its index.
	Device(index int) (system.Device, error)
	Link(name string) (system.Link, error)
}
