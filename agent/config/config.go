package config

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/netip"
	"time"
)

// DefaultPath is where the agent looks for its file unless told otherwise.
const DefaultPath = "/etc/penstock/penstock.yaml"

// Config is the whole configuration. Its zero value is not valid: start from
// Default or Load. The meaning of each field is with its key in Keys.
type Config struct {
	Node         string
	Source       Source
	VIPs         []netip.Prefix // networks that VIPs must be of; empty: any
	Datapath     Datapath
	NAT          NAT
	BGP          BGP
	Shutdown     ShutdownMode
	DrainTimeout time.Duration
	Metrics      Metrics
	API          API
	Log          Log
}

// Source is where Kubernetes objects come from.
type Source struct {
	Directory string
}

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
	GracefulRestart GracefulRestart
	Peers           []Peer
}

// GracefulRestart is that of RFC 4724.
type GracefulRestart struct {
	Enabled     bool
	RestartTime time.Duration // whole seconds
}

// Peer is one router.
type Peer struct {
	Name          string // Address unless given
	Address       netip.Addr
	ASN           uint32
	LocalAddress  netip.Addr // invalid: chosen by route
	PasswordFile  string
	Password      Secret // what PasswordFile holds
	HoldTime      time.Duration
	KeepaliveTime time.Duration
	ConnectRetry  time.Duration
	MultihopTTL   uint8 // 0: directly connected
	TTLSecurity   bool
	Families      []string   // ipv4, ipv6; empty: that of Address and those with a next hop
	NextHop4      netip.Addr // invalid: this node
	NextHop6      netip.Addr // invalid: this node
}

// ShutdownMode says what SIGTERM does.
type ShutdownMode string

const (
	ShutdownDrain   ShutdownMode = "drain"
	ShutdownRestart ShutdownMode = "restart"
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
