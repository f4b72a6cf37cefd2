package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	stdmaps "maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/probe"
	"github.com/penstock-lb/penstock/agent/system"
	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps"
)

var errInjected = errors.New("injected")

// world is everything outside the agent: what the kernel and the routers hold,
// what was called in which order, and what shall fail.
type world struct {
	mu    sync.Mutex
	calls []string

	kernel   map[string]maps.Service   // the tables' content
	refused  map[string]maps.Service   // what the last Sync refused
	routers  map[netip.Prefix]bool     // what routers have been told
	paths    map[netip.Prefix]bgp.Path // of those, as they were
	probes   map[netip.Addr]string     // verdicts of probes that are not forwarded, by VIP
	probed   int
	attached map[string]bool // pinned links
	ifindex  map[string]int
	sysctls  map[string]string
	traffic  uint64 // packets forwarded
	session  bgp.SessionState
	families []bgp.FamilyState           // of the session
	given    []bgp.Peer                  // by SetPeers; nil: the one of the start
	since    time.Time                   // of the sessions
	causes   map[bgp.Cause]uint32        // of sessions that ended
	only6    bool                        // the session carries IPv6 alone
	both     bool                        // the session carries both
	hops     map[netip.Addr]maps.NextHop // those that are not by device 2
	devices  map[int]system.Device
	links    map[string]system.Link // those that are not of 10 Gbit/s
	defaults []string               // devices of the default routes
	own      map[netip.Addr]string

	snapshot  desired.Snapshot
	synced    bool
	unchanged bool // since it was last asked

	// fail returns the error of a call, nil for success. A call is written as
	// in calls.
	fail func(call string) error
	// refuse returns the error of a single service in Tables.Sync, or of a single
	// address in Speaker.Sync.
	refuse    func(what string) error
	otherPeer error // what Speaker.Sync adds for a session that cannot be opened
	// asks are the paths by which each announceable VIP is to be told, nil where aggregates are for all in them; ever
	// are the VIPs that ever asked for one, and members those that routers send to by it.
	asks          map[netip.Addr][]netip.Prefix
	ever, members map[netip.Prefix]map[netip.Addr]bool
	// broken collects violations of the order.
	broken []string

	block        chan struct{} // Tables.Sync waits for it, if set
	brokenSource chan error    // what the source ends with

	// Ingress nodes: those that are asked, and of those that ever answered since when
	// they do not, zero while they do; nil: no answer comes, and nothing is judged.
	asked   map[netip.Addr]probe.Target
	answers map[netip.Addr]time.Time

	used map[netip.Addr]bool // those that the history has tunnels to

	wants      []maps.Want // that the tables were given
	nextChange time.Time

	sourceChanged, hopsChanged, nodesChanged, peersChanged chan struct{}
	swept                                                  int
}

func newWorld() *world {
	return &world{
		ever: map[netip.Prefix]map[netip.Addr]bool{}, members: map[netip.Prefix]map[netip.Addr]bool{},
		own: map[netip.Addr]string{}, kernel: map[string]maps.Service{}, routers: map[netip.Prefix]bool{}, attached: map[string]bool{},
		ifindex: map[string]int{"eth0": 2}, sysctls: map[string]string{}, session: bgp.Established,
		fail: func(string) error { return nil }, refuse: func(string) error { return nil },
		brokenSource: make(chan error, 1), sourceChanged: make(chan struct{}, 1), hopsChanged: make(chan struct{}, 1), nodesChanged: make(chan struct{}, 1), peersChanged: make(chan struct{}, 1),
	}
}

func (w *world) call(format string, args ...any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := fmt.Sprintf(format, args...)
	w.calls = append(w.calls, c)
	return w.fail(c)
}

// took returns the calls since the last time and forgets them.
func (w *world) took() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.calls
	w.calls = nil
	return c
}

func (w *world) announced() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for p := range w.routers {
		out = append(out, short(p))
	}
	slices.Sort(out)
	return out
}

// short is a VIP's own prefix as its address.
func short(p netip.Prefix) string {
	return strings.TrimSuffix(p.String(), fmt.Sprintf("/%d", p.Addr().BitLen()))
}

// carried tells whether services take flows that come by a path: of an aggregate, to one of those that
// are behind it, nil for all.
func (w *world) carried(services []maps.Service, path netip.Prefix, behind map[netip.Addr]bool) bool {
	return slices.ContainsFunc(services, func(s maps.Service) bool {
		return slices.ContainsFunc(s.Frontends, func(f maps.Frontend) bool {
			return path.Contains(f.VIP) && carries(s, f.VIP) && (path.IsSingleIP() || behind == nil || behind[f.VIP])
		})
	})
}

// askers are the VIPs that are to be told by an aggregate.
func (w *world) askers(path netip.Prefix) map[netip.Addr]bool {
	if w.asks == nil {
		return nil
	}
	out := map[netip.Addr]bool{}
	for vip, paths := range w.asks {
		if slices.Contains(paths, path) {
			out[vip] = true
		}
	}
	return out
}

// regroup notes to whom routers send by aggregates, now that they have been told: to those that ask for
// one and are in the kernel. Who has asked for it before, and is to be told by other paths now, has them
// or will, and is not waited for where a router does not take the aggregate back.
func (w *world) regroup() {
	w.members = map[netip.Prefix]map[netip.Addr]bool{}
	for path := range w.routers {
		behind := map[netip.Addr]bool{}
		for vip := range w.askers(path) {
			behind[vip] = w.carried(w.services(), netip.PrefixFrom(vip, vip.BitLen()), nil)
		}
		w.members[path] = behind
	}
}

// services returns the tables' content; w.mu is held.
func (w *world) services() []maps.Service {
	return slices.Collect(stdmaps.Values(w.kernel))
}

type fakeTables struct{ *world }

func (f fakeTables) Sync(_ context.Context, want maps.Want) error {
	var names []string
	for _, s := range want.Services {
		names = append(names, s.Name)
	}
	if err := f.call("tables.Sync(%s)", strings.Join(names, " ")); err != nil {
		return err
	}
	f.mu.Lock()
	f.wants = append(f.wants, want)
	block := f.block
	f.mu.Unlock()
	if block != nil {
		<-block
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	asked, next := map[string]maps.Service{}, map[string]maps.Service{}
	if want.Partial {
		asked = stdmaps.Clone(f.kernel)
		for _, name := range want.Removed {
			delete(asked, name)
		}
		next = stdmaps.Clone(asked)
	}
	services := want.Services
	for name, s := range f.refused { // which are tried again each time
		named := slices.Contains(want.Removed, name) || slices.ContainsFunc(want.Services, func(s maps.Service) bool { return s.Name == name })
		if want.Partial && !named {
			services = append(slices.Clone(services), s)
		}
	}
	f.refused = map[string]maps.Service{}
	for _, s := range services {
		asked[s.Name] = s
		if err := f.refuse(s.Name); err != nil {
			errs = append(errs, &maps.ServiceError{Service: s.Name, Err: err})
			f.refused[s.Name] = s
			if old, ok := f.kernel[s.Name]; ok {
				next[s.Name] = old
			}
			continue
		}
		next[s.Name] = s
	}
	for p := range f.routers {
		left := slices.Collect(stdmaps.Values(asked))
		if f.carried(f.services(), p, f.members[p]) && !f.carried(left, p, f.ever[p]) {
			f.broken = append(f.broken, fmt.Sprintf("tables of %s removed while routers still send", short(p)))
		}
	}
	f.kernel = next
	return errors.Join(errs...)
}

func (f fakeTables) Sweep(context.Context) (maps.SweepStats, error) {
	f.mu.Lock()
	f.swept++
	f.mu.Unlock()
	return maps.SweepStats{}, nil
}
func (f fakeTables) Services() ([]maps.ServiceStatus, error) { return nil, nil }
func (f fakeTables) ServicesOf(...string) ([]maps.ServiceStatus, error) {
	return nil, nil
}
func (f fakeTables) Verdicts() ([]maps.VerdictCount, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return []maps.VerdictCount{
		{Name: "forward", Action: "forward", Packets: f.traffic},
		{Name: "pass_not_vip", Action: "pass", Packets: uint64(time.Now().UnixNano())},
	}, nil
}
func (f fakeTables) Flows() (maps.FlowStats, error) {
	return maps.FlowStats{Entries: 1, Capacity: 10}, nil
}
func (f fakeTables) Usage() (maps.Usage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Usage{Backends: maps.Fill{Used: uint32(len(f.kernel)), Total: 64}}, nil
}
func (f fakeTables) Probe(_ maps.Service, fe maps.Frontend, ifindex uint32) (maps.ProbeResult, error) {
	err := f.fail("probe")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.probed++
	if !f.carried(f.services(), netip.PrefixFrom(fe.VIP, fe.VIP.BitLen()), nil) {
		f.broken = append(f.broken, fmt.Sprintf("%s probed before it is in the kernel", fe.VIP))
	}
	if !slices.Contains(slices.Collect(stdmaps.Values(f.ifindex)), int(ifindex)) {
		f.broken = append(f.broken, fmt.Sprintf("%s probed by device %d", fe.VIP, ifindex))
	}
	verdict, refused := f.probes[fe.VIP]
	return maps.ProbeResult{Forwards: !refused, Verdict: verdict}, err
}
func (f fakeTables) Warnings() []*maps.ServiceError { return nil }
func (f fakeTables) RotateLearned() error           { return nil }
func (f fakeTables) NextChange() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nextChange
}
func (f fakeTables) Close() error { return f.call("tables.Close") }

type fakeProber struct{ *world }

func (f fakeProber) Run(ctx context.Context) error { <-ctx.Done(); return nil }

func (f fakeProber) Set(nodes []probe.Target) (fresh bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := map[netip.Addr]probe.Target{}
	for _, n := range nodes {
		asked[n.Addr] = n
		if _, known := f.asked[n.Addr]; !known {
			fresh = true
		}
	}
	f.asked = asked
	return fresh
}

func (f fakeProber) Await(ctx context.Context) {
	f.mu.Lock()
	answers := f.answers
	f.mu.Unlock()
	if answers == nil {
		<-ctx.Done()
	}
}

func (f fakeProber) Result() probe.Result {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := probe.Result{Answering: map[netip.Addr]bool{}, Dead: map[netip.Addr]time.Time{}}
	for a := range f.asked {
		if since, dead := f.answers[a]; dead && !since.IsZero() {
			r.Dead[a] = since
		} else if dead {
			r.Answering[a] = true
		}
	}
	return r
}

func (f fakeProber) Nodes() (nodes []probe.Node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.asked {
		nodes = append(nodes, probe.Node{Target: t, State: probe.Alive})
	}
	return nodes
}
func (f fakeProber) Err() error               { return nil }
func (f fakeProber) Changed() <-chan struct{} { return f.nodesChanged }

type fakeHistory struct{ *world }

func (f fakeHistory) Observe(_ time.Time, s []maps.Service) []maps.Service { return s }
func (f fakeHistory) Update(_ time.Time, s []maps.Service, _ []string) []maps.Service {
	return s
}
func (f fakeHistory) Tunnels() map[netip.Addr]bool { return f.used }
func (f fakeHistory) Save() error                  { return f.fail("history.Save") }
func (f fakeHistory) Close() error                 { return f.call("history.Close") }

type fakeSpeaker struct{ *world }

func (f fakeSpeaker) Run(ctx context.Context) error { <-ctx.Done(); return nil }

func (f fakeSpeaker) Sync(_ context.Context, want []bgp.Path) error {
	var addrs []string
	for _, p := range want {
		last := ""
		if a, _ := p.For("tor"); slices.Contains(a.Communities, bgp.GracefulShutdown) {
			last = "~" // as the last choice
		}
		addrs = append(addrs, short(p.Prefix)+last)
	}
	if err := f.call("speaker.Sync(%s)", strings.Join(addrs, " ")); err != nil {
		return fmt.Errorf("%w: %w", bgp.ErrStopped, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	next := map[netip.Prefix]bool{}
	for _, p := range want {
		if !f.routers[p.Prefix] {
			if err := f.refusePath(p.Prefix); err != nil {
				errs = append(errs, err)
				continue
			}
			if !f.carried(f.services(), p.Prefix, f.ever[p.Prefix]) {
				f.broken = append(f.broken, fmt.Sprintf("%s announced before it is in the kernel", short(p.Prefix)))
			}
		}
		next[p.Prefix] = true
	}
	for p := range f.routers {
		if !slices.ContainsFunc(want, func(w bgp.Path) bool { return w.Prefix == p }) {
			if err := f.refusePath(p); err != nil {
				errs, next[p] = append(errs, err), true
			}
		}
	}
	f.routers, f.paths = next, map[netip.Prefix]bgp.Path{}
	for _, p := range want {
		f.paths[p.Prefix] = p
	}
	f.regroup()
	return errors.Join(append(errs, f.otherPeer)...)
}

// refusePath returns the error of one path that is announced or withdrawn.
func (f fakeSpeaker) refusePath(p netip.Prefix) error {
	if err := f.refuse(short(p)); err != nil {
		return &bgp.PathError{Prefix: p, Peer: "tor", Err: err}
	}
	return nil
}

func (f fakeSpeaker) SetPeers(_ context.Context, peers []bgp.Peer) error {
	err := f.call("speaker.SetPeers(%d)", len(peers))
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.given = append([]bgp.Peer{}, peers...)
	}
	return err
}
func (f fakeSpeaker) Changed() <-chan struct{} { return f.peersChanged }
func (f fakeSpeaker) Peers() []bgp.PeerState {
	f.mu.Lock()
	defer f.mu.Unlock()
	given := f.given
	if given == nil {
		given = []bgp.Peer{{Name: "tor"}}
	}
	states := []bgp.PeerState{}
	for _, p := range given {
		s := bgp.PeerState{Name: p.Name, Address: p.Address, State: f.session, Families: f.families, Since: f.since, Causes: stdmaps.Clone(f.causes)}
		for _, n := range f.causes {
			s.Flaps += n
		}
		states = append(states, s)
	}
	return states
}
func (f fakeSpeaker) Routes() []bgp.Route {
	f.mu.Lock()
	defer f.mu.Unlock()
	var routes []bgp.Route
	for p := range f.routers {
		r := bgp.Route{Prefix: p}
		if f.session == bgp.Established && (f.both || p.Addr().Is4() != f.only6) {
			r.Peers = []bgp.RoutePeer{{Peer: "tor"}}
		}
		routes = append(routes, r)
	}
	return routes
}
func (f fakeSpeaker) Stop(_ context.Context, mode bgp.StopMode, _ string) error {
	name := "drain"
	if mode == bgp.StopRestart {
		name = "restart"
	}
	err := f.call("speaker.Stop(%s)", name)
	f.mu.Lock()
	defer f.mu.Unlock()
	if mode == bgp.StopDrain {
		f.routers = map[netip.Prefix]bool{}
	}
	return err
}

type fakeDatapath struct{ *world }

func (f fakeDatapath) Attach(ifname string, mode bpf.Mode) (bpf.Attachment, error) {
	if err := f.call("attach(%s %s)", ifname, mode); err != nil {
		return bpf.Attachment{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.attached[ifname] = true
	return bpf.Attachment{Interface: ifname, Ifindex: f.ifindex[ifname], Mode: "native"}, nil
}

func (f fakeDatapath) Detach(ifname string) error {
	err := f.call("detach(%s)", ifname)
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.attached, ifname)
	return err
}

func (f fakeDatapath) Attached() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for n := range f.attached {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
func (f fakeDatapath) Settle() error  { return f.call("settle") }
func (f fakeDatapath) Schema() string { return "tables-0 state-0" }
func (f fakeDatapath) Close() error   { return f.call("datapath.Close") }
func (f fakeDatapath) Discard() error { return f.call("datapath.Discard") }
func (f fakeDatapath) Remove() ([]string, error) {
	devices := f.Attached()
	err := f.call("datapath.Remove")
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.attached)
	return devices, err
}

type fakeSource struct{ *world }

func (f fakeSource) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-f.brokenSource:
		return err
	}
}
func (f fakeSource) Delta() (desired.Delta, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.synced {
		return desired.Delta{Problems: f.snapshot.Problems}, false
	}
	if f.unchanged {
		return desired.Delta{}, true
	}
	return desired.Whole(f.snapshot), true
}
func (f fakeSource) Changed() <-chan struct{} { return f.sourceChanged }

type fakeResolver struct{ *world }

func (f fakeResolver) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (f fakeResolver) Add(ctx context.Context, addrs []netip.Addr) map[netip.Addr]maps.NextHop {
	return f.Resolve(ctx, addrs)
}
func (f fakeResolver) Resolve(_ context.Context, addrs []netip.Addr) map[netip.Addr]maps.NextHop {
	f.mu.Lock()
	defer f.mu.Unlock()
	hops := map[netip.Addr]maps.NextHop{}
	for _, a := range addrs {
		hops[a] = maps.NextHop{Ifindex: 2}
		if hop, ok := f.hops[a]; ok {
			hops[a] = hop
		}
	}
	return hops
}
func (f fakeResolver) Changed() <-chan struct{} { return f.hopsChanged }

type fakeSystem struct{ *world }

func (f fakeSystem) DefaultDevices() ([]string, error) { return f.defaults, nil }

func (f fakeSystem) Addresses() (map[netip.Addr]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return stdmaps.Clone(f.own), f.fail("addresses")
}

func (f fakeSystem) Ifindex(name string) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, ok := f.ifindex[name]
	if !ok {
		return 0, fmt.Errorf("interface %s: %w", name, fs.ErrNotExist)
	}
	return i, nil
}

func (f fakeSystem) Device(index int) (system.Device, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if info, ok := f.devices[index]; ok {
		return info, nil
	}
	for name, i := range f.ifindex {
		if i == index {
			return system.Device{Name: name}, nil
		}
	}
	return system.Device{}, fs.ErrNotExist
}

func (f fakeSystem) Link(name string) (system.Link, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if link, ok := f.links[name]; ok {
		return link, nil
	}
	return system.Link{Carrier: true, Speed: 10_000_000_000}, nil
}

func (f fakeSystem) Sysctl(name string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, ok := f.sysctls[name]
	if !ok {
		return "", fmt.Errorf("sysctl %s: %w", name, fs.ErrNotExist)
	}
	return v, nil
}

type fakeMartians struct{ *world }

func (f fakeMartians) Set(device string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sysctls["net/ipv4/conf/"+device+"/accept_local"] = "1"
	return nil
}

func (f fakeMartians) Reset(devices ...string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name := range f.sysctls {
		dev, ok := strings.CutSuffix(strings.TrimPrefix(name, "net/ipv4/conf/"), "/accept_local")
		if ok && (len(devices) == 0 || slices.Contains(devices, dev)) {
			delete(f.sysctls, name)
		}
	}
	return nil
}
