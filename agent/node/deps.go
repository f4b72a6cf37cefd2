package node

import (
	"context"
	"log/slog"
	"net/netip"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/control"
	"github.com/penstock-lb/penstock/agent/desired"
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

// Cluster is the API server beside the Source. None but Run, Tenure and Forget waits for an
// answer.
type Cluster interface {
	Run(ctx context.Context) error // until ctx ends
	Link() api.Link
	Node(desired.Published)
	Forget(ctx context.Context) error // takes back what Node published, for good
	Trouble(reason, subject, message string)
	control.Tenant
}

// Datapath is the loaded programs.
type Datapath interface {
	Attach(device string, mode bpf.NodeMode) (bpf.NodeAttachment, error)
	Detach(device string) error
	Attached() []string // devices with our programs, from before too
	Settle() error      // removes what older programs left
	Schema() string
	Remove() (devices []string, err error) // detaches everywhere and removes the pins
	Discard() error                        // Close, without the pins that loading made
	Close() error                          // leaves the pins in place
}

// Tables are the data path's maps.
type Tables interface {
	Sync(ctx context.Context, want maps.NodeWant) error
	Sweep(ctx context.Context) (maps.SweepStats, error)
	Verdicts() ([]maps.VerdictCount, error)
	Flows() (maps.FlowStats, error)
	Events() (maps.NodeEvents, error)
	Close() error
}

// System is what the agent asks of the node's kernel beside the data path.
type System interface {
	// DefaultDevices names the devices of the default routes, sorted.
	DefaultDevices() ([]string, error)
	// Addresses returns the node's own addresses, each with its device.
	Addresses() (map[netip.Addr]string, error)
	// Ifindex returns an error that wraps fs.ErrNotExist for a missing interface.
	Ifindex(name string) (int, error)
	// MTU of an interface, in bytes of IP packet.
	MTU(name string) (int, error)
	// Sysctl reads a setting, its name in slashes: "net/ipv4/ip_forward".
	Sysctl(name string) (string, error)
	// PodNetns is where a pod's sockets are: an ID, bpf.PodNetnsOwn or bpf.PodNetnsUnknown.
	PodNetns(pod netip.Addr) int32
}

// Deps are everything that the agent works with.
type Deps struct {
	Version    string
	Source     Source
	System     System
	Configs    control.Configs
	Cluster    Cluster        // nil: none
	ConfigFile string         // empty for none
	Level      *slog.LevelVar // of the log, set when log.level changes

	// Load loads the programs and opens their tables.
	Load func(*config.Config) (Datapath, Tables, error)
}
