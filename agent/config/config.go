package config

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/netip"
	"time"

	"github.com/penstock-lb/penstock/agent/advertise"
	"github.com/penstock-lb/penstock/agent/ipam"
)

// DefaultPath is where the agent looks for its file unless told otherwise.
const DefaultPath = "/etc/penstock/penstock.yaml"

// Config is the whole configuration. Its zero value is not valid: start from
// Default or Load. The meaning of each field is with its key in Keys.
type Config struct {
	Node         string
	Role         Role
	Source       Source
	VIPs         []netip.Prefix // networks that VIPs must be of; empty: any
	DefaultClass bool           // Services without a loadBalancerClass are ours
	LBNodes      string         // label selector of the Nodes that may be LB nodes; empty: any
	Pools        []ipam.Pool
	Forwarding   string // auto, dsr or nat
	Datapath     Datapath
	Tunnel       Tunnel
	Chains       Chains
	NAT          NAT
	Backend      Backend
	BGP          BGP
	Shutdown     ShutdownMode
	DrainTimeout time.Duration
	Metrics      Metrics
	API          API
	Log          Log
}

// Role is what an agent makes of its node.
type Role string

const (
	RoleLB      Role = "lb"      // an LB node: takes clients' packets and announces VIPs
	RoleBackend Role = "backend" // an ingress node: takes LB nodes' packets out of tunnels
)

// Source is where Kubernetes objects come from, and where what was seen of them
// is remembered.
type Source struct {
	Kind       SourceKind
	Directory  string
	History    string // a file; empty: none
	Copy       string // a file; empty: none
	Kubeconfig string // a file; empty: the pod's ServiceAccount
	Namespace  string // of Leases; empty: the pod's
	DaemonSet  string // that the agent's pod is of; empty: none
}

// SourceKind says where Kubernetes objects come from.
type SourceKind string

const (
	SourceManifests  SourceKind = "manifests"
	SourceKubernetes SourceKind = "kubernetes"
)

// Datapath configures the XDP program and its tables.
type Datapath struct {
	Interfaces   []string // empty: the devices of the default routes
	Mode         string   // auto, native or generic
	Compile      bool
	Clang        string
	Sources      string // empty: those in the binary
	BPFFS        string
	Unmatched    string // reject or drop
	ICMPRate     uint32 // per second and CPU
	Seed         Secret // of SeedFile too, once loaded
	SeedFile     string
	Rows         uint32 // 2^k
	MaxRows      uint32
	MaxFrontends uint32
	MaxBackends  uint32
	DiscardFlows bool

	MaxSourceRanges uint32
}

// SeedBytes is the key of the hash that places flows: 32 hexadecimal digits as
// they are, any other text by the first half of its SHA-256.
func (d Datapath) SeedBytes() (seed [16]byte) {
	text := d.Seed.Reveal()
	if b, err := hex.DecodeString(text); err == nil && len(b) == len(seed) {
		return [16]byte(b)
	}
	sum := sha256.Sum256([]byte(text))
	return [16]byte(sum[:16])
}

// Tunnel configures what is between LB nodes and ingress nodes.
type Tunnel struct {
	Port            uint16 // UDP, at either end
	BounceRate      uint32 // per second and CPU
	ProbeInterval   time.Duration
	ProbeFailures   uint32 // unanswered probes in a row that make a node dead
	ProbeRecoveries uint32 // answers in a row that end that
	FailOpen        uint32 // percent of dead nodes from which on none counts as dead
}

// Chains configure how displaced flows are found.
type Chains struct {
	Retention  time.Duration
	Slack      time.Duration
	ExtraRanks uint8
	Longest    uint8
	Max        uint32
	MaxLearned uint32
}

// Backend configures an ingress node.
type Backend struct {
	MaxFlows      uint32
	MaxYoungFlows uint32
	MTU           uint16 // of the path from the LB nodes, in bytes of IP packet; 0: the uplinks' least
	Timeouts      Timeouts
}

// NAT configures the translation of addresses.
type NAT struct {
	Ports    PortRange
	MaxFlows uint32
	Timeouts Timeouts
}

// Timeouts say after how long without a packet a flow is forgotten.
type Timeouts struct {
	SYN         time.Duration
	Established time.Duration
	Closing     time.Duration
	Closed      time.Duration
	UDP         time.Duration
}

// BGP configures the speaker.
type BGP struct {
	ASN             uint32     // 0 where there are no peers
	RouterID        netip.Addr // invalid: the node's first IPv4 address
	ListenPort      uint16     // where passive peers connect to
	GracefulRestart GracefulRestart
	Drain           Drain
	Damping         Damping
	Warmup          time.Duration // 0: none
	Peers           []Peer
	Advertisements  []advertise.Entry // in order; none: everything to every peer, without attributes
}

// GracefulRestart is that of RFC 4724, and of RFC 9494.
type GracefulRestart struct {
	Enabled       bool
	RestartTime   time.Duration // whole seconds
	LongLivedTime time.Duration // whole seconds; 0: off
}

// ShutdownMode says what SIGTERM does.
type ShutdownMode string

const (
	ShutdownDrain   ShutdownMode = "drain"
	ShutdownRestart ShutdownMode = "restart"
	ShutdownAuto    ShutdownMode = "auto" // as the DaemonSet of the agent's pod says
)

// Metrics configures the Prometheus endpoint.
type Metrics struct {
	Address string // empty: none
}

// API configures what the command line talks to.
type API struct {
	Socket  string
	Address string // loopback; empty: none
}

// Log configures the agent's log.
type Log struct {
	Level  slog.Level
	Format string // text or json
}
