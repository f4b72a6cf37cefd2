package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/control"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/ipam"
	"github.com/penstock-lb/penstock/agent/kube"
	"github.com/penstock-lb/penstock/agent/ledger"
	"github.com/penstock-lb/penstock/agent/system"
	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/maps"
)

const (
	// resync is how often a pass is made without a reason, and flows are swept.
	resync = 30 * time.Second
	// auditEvery is how often a pass compares everything, whatever changed.
	auditEvery = 10 * time.Minute
)

// Deps are everything that the agent works with.
type Deps struct {
	Version    string
	Source     Source
	Resolver   Resolver
	Gateways   Gateways // nil: none is followed
	Prober     Prober
	System     System
	Martians   AcceptLocal
	Configs    control.Configs
	Cluster    Cluster        // nil: none
	ConfigFile string         // empty for none
	Level      *slog.LevelVar // of the log, set when log.level changes
	RouterID   netip.Addr     // invalid where there is none

	// History opens the memory of endpoints.
	History func(*config.Config) History
	// Load loads the program and opens its tables.
	Load func(*config.Config) (Datapath, Tables, error)
	// Speaker makes a speaker that does nothing before its first Sync. restarting
	// says that the data plane forwarded on while no agent ran.
	Speaker func(cfg *config.Config, restarting bool) (Speaker, error)
}

// Agent is one node's control loop. The methods that read may be called
// concurrently, from New on.
type Agent struct {
	deps Deps
	log  *slog.Logger

	// The loop's own.
	booted, cfg  *config.Config // as started with; as in force for what applies live
	datapath     Datapath
	reconciler   *reconciler
	attachments  *attachments
	history      History
	due          *time.Timer // for what time alone changes
	ledger       *ledger.Ledger
	remarks      *ledger.Ledger // what is as it should be, such as Services of another class
	backoff      ledger.Backoff
	retry        *time.Timer
	peering      peering
	peersPending bool // the speaker has yet to take the peers that this node has
	ending       bool
	leaving      bool // for good
	life         *lifecycle
	warming      bool                   // as of the last steer
	poll         *time.Timer            // looks at the traffic of a drain
	own          map[netip.Addr]string  // this node's addresses, nil until they have been read
	attachErr    error                  // of the last attempt to attach
	troubled     string                 // what the Node object was told of that
	forwarding   []api.ForwardingStatus // as of the last attempt to attach
	bypassed     []api.BypassStatus     // as of the last announcement
	announced    map[netip.Addr]verdict // by VIP, as last logged

	model     *desired.Model
	named     map[string][]string           // the names of Services' tables, by namespace/name
	block     block                         // as of the last pass
	shaken    bool                          // the last pass failed as a whole: the next one leaves nothing out
	problems  []desired.Problem             // the source's
	reported  map[string]kube.ServiceReport // what the cluster was told, by namespace/name
	up        map[string][]string           // peers that take routes, as the cluster was told
	connected bool                          // one does, as last seen
	lbNodes   ipam.Selector
	capacity  capacity // as of the last pass

	commands chan command
	watchdog control.Watchdog

	open   sync.RWMutex // guards tables; held as long as they are read, which may take seconds
	tables Tables       // nil while not open

	mu      sync.RWMutex // guards all below
	inForce config.Dump
	status  api.Status
	shown   *board
	speaker Speaker // nil before the start
}

// New makes an agent that does nothing before Run.
func New(cfg *config.Config, deps Deps, log *slog.Logger) *Agent {
	now := time.Now()
	return &Agent{
		deps: deps, log: log, booted: cfg, cfg: cfg,
		ledger:    ledger.New(log, slog.LevelWarn),
		remarks:   ledger.New(log, slog.LevelDebug),
		announced: map[netip.Addr]verdict{},
		model:     desired.NewModel(), named: map[string][]string{},
		inForce: config.InForce(cfg, cfg),
		shown:   newBoard(), reported: map[string]kube.ServiceReport{},
		commands: make(chan command), life: newLifecycle(cfg),
		status: api.Status{
			Version: deps.Version, Node: cfg.Node, Role: string(cfg.Role), Since: now, State: api.Starting,
			Config:   api.ConfigStatus{File: deps.ConfigFile, Loaded: now},
			Source:   api.SourceOf(cfg),
			Datapath: api.DatapathStatus{Pins: cfg.Datapath.BPFFS},
			BGP:      api.BGPStatus{ASN: cfg.BGP.ASN, RouterID: deps.RouterID},
		},
	}
}

// Run works until ctx ends, and then shuts down as configured, which may take as
// long as drainTimeout. It returns early if the data path cannot be loaded or a
// part of the agent ends; the data path then stays as it is, and so do the routes
// where graceful restart is on.
func (a *Agent) Run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	g, work := errgroup.WithContext(work)
	control.Component(work, g, "source", a.deps.Source.Run)
	control.Component(work, g, "next hops", a.deps.Resolver.Run)
	if a.deps.Gateways != nil {
		control.Component(work, g, "gateways", a.deps.Gateways.Run)
	}
	control.Component(work, g, "probes", a.deps.Prober.Run)
	control.Component(work, g, "configuration", a.deps.Configs.Run)
	if a.deps.Cluster != nil {
		control.Component(work, g, "cluster", a.deps.Cluster.Run)
	}
	g.Go(func() error {
		defer cancel()
		return a.work(ctx, work, g)
	})
	err := g.Wait()
	if a.leaving { // now that nobody writes them any more
		err = errors.Join(err, control.RemoveFiles(a.booted))
	}
	a.update(func(s *api.Status) { s.State = api.Stopped })
	return err
}

// work is the loop's whole life. It ends by itself after stop, and at once when
// ctx ends because a component failed.
func (a *Agent) work(stop, ctx context.Context, g *errgroup.Group) (err error) {
	if err := a.load(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	control.Component(ctx, g, "BGP", a.speaker.Run)
	a.loop(stop, ctx)
	if ctx.Err() != nil {
		return nil // the component's error says why
	}
	return a.shutdown(ctx)
}

// load brings the data path into the kernel, where no packet meets it yet.
func (a *Agent) load() error {
	a.configure()
	a.beginPeering()
	if err := system.CheckPorts(a.deps.System, a.cfg.NAT.Ports); err != nil {
		return err
	}
	program, err := system.ProgramOf(a.cfg)
	if err != nil {
		return err
	}
	datapath, tables, err := a.deps.Load(a.cfg)
	if err != nil {
		return fmt.Errorf("load data path: %w", err)
	}
	if program.Compiled {
		a.log.Info("the program was compiled on this node", "sources", program.Sources, "digest", program.Digest, "changed", program.Changed)
	}
	survived := datapath.Attached()
	flows, err := tables.Flows()
	if err != nil {
		return errors.Join(err, tables.Close(), datapath.Discard())
	}
	speaker, err := a.deps.Speaker(a.cfg, len(survived) > 0)
	if err != nil {
		return errors.Join(err, tables.Close(), datapath.Discard())
	}
	if len(survived) > 0 {
		a.log.Info("the data path has forwarded on without an agent", "interfaces", survived)
	}
	a.datapath = datapath
	a.history = a.deps.History(a.cfg)
	a.reconciler = newReconciler(tables, spelling{speaker, a}, a.deps.Resolver, a.isOwn)
	a.reconciler.last = a.life.judge
	a.resume(len(survived) > 0)
	a.attachments = &attachments{
		datapath: datapath, system: a.deps.System, martians: a.deps.Martians, mode: modeOf(a.cfg), log: a.log,
	}
	a.tellNode() // not before: a start that fails leaves no word behind
	a.open.Lock()
	a.tables = tables
	a.open.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.speaker = speaker
	a.status.Datapath.Loaded = true
	a.status.Datapath.Survived = len(survived) > 0
	a.status.Datapath.Schema = datapath.Schema()
	a.status.Datapath.Program = program
	a.status.Datapath.Flows, a.status.Datapath.SweptAt = flows, time.Now()
	return nil
}

// close lets go of the data path, which goes on forwarding.
func (a *Agent) close() error {
	a.open.Lock()
	defer a.open.Unlock()
	tables := a.tables
	a.tables = nil
	return errors.Join(a.history.Close(), tables.Close(), a.datapath.Close())
}

// loop makes a pass whenever something may have changed, until stop or ctx ends.
func (a *Agent) loop(stop, ctx context.Context) {
	resync := time.NewTicker(resync)
	defer resync.Stop()
	audit := time.NewTicker(auditEvery)
	defer audit.Stop()
	a.retry = time.NewTimer(0)
	defer a.retry.Stop()
	a.due = time.NewTimer(time.Hour) // set by each pass
	defer a.due.Stop()
	a.poll = time.NewTimer(time.Hour) // set by steer
	defer a.poll.Stop()
	for {
		whole := false
		select {
		case <-ctx.Done():
			return
		case <-stop.Done():
			return
		case <-a.deps.Source.Changed():
			a.update(func(s *api.Status) { s.Source.Changed = time.Now() })
		case <-a.deps.Resolver.Changed():
			whole = true
		case <-a.deps.Prober.Changed():
		case <-a.gatewaysChanged():
			a.peering.doubt = true
		case <-a.due.C:
		case now := <-a.poll.C:
			if !a.steer(now) {
				continue
			}
			whole = true
		case c := <-a.commands:
			if !a.obey(c, time.Now()) {
				continue
			}
			whole = true
		case <-a.speaker.Changed():
			a.tellPeers()
			continue
		case <-a.deps.Configs.Changed():
			a.reload()
			whole = true
		case <-resync.C:
			a.sweep(ctx)
		case <-audit.C:
			whole = true
		case <-a.retry.C:
			whole = true
		}
		a.pass(ctx, whole)
	}
}

// sweep frees the flows that have expired. What it leaves is the flow table's
// fill in the status: a count of its own would lock every bucket once more.
func (a *Agent) sweep(ctx context.Context) {
	stats, err := a.reconciler.tables.Sweep(ctx)
	err = errors.Join(err, a.reconciler.tables.RotateLearned())
	a.log.Debug("flows swept", "scanned", stats.Scanned, "deleted", stats.Deleted, "err", err)
	a.update(func(s *api.Status) {
		s.Datapath.SweepError = text(err)
		if err == nil {
			s.Datapath.SweptAt = time.Now()
			s.Datapath.Flows.Entries = uint32(stats.Scanned - stats.Deleted)
		}
	})
}

// Alive returns why the loop does not work, or nil.
func (a *Agent) Alive() error {
	if err := a.watchdog.Err(); err != nil {
		return err
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.status.State == api.Stopped {
		return errors.New("the agent has ended")
	}
	return nil
}

var errNotLoaded = errors.New("the data path is not loaded")

// Services reads the tables in the kernel.
func (a *Agent) Services() ([]maps.ServiceStatus, error) {
	return read(a, Tables.Services)
}

// ServicesOf reads a few of the tables in the kernel.
func (a *Agent) ServicesOf(names ...string) ([]maps.ServiceStatus, error) {
	return read(a, func(t Tables) ([]maps.ServiceStatus, error) { return t.ServicesOf(names...) })
}

// Verdicts reads the data path's counters.
func (a *Agent) Verdicts() ([]maps.VerdictCount, error) {
	return read(a, Tables.Verdicts)
}

// read holds off close while the tables are being read.
func read[T any](a *Agent, do func(Tables) (T, error)) (T, error) {
	a.open.RLock()
	defer a.open.RUnlock()
	if a.tables == nil {
		var none T
		return none, errNotLoaded
	}
	return do(a.tables)
}

// Peers returns the BGP peers.
func (a *Agent) Peers() []bgp.PeerState {
	if s := a.currentSpeaker(); s != nil {
		return s.Peers()
	}
	return []bgp.PeerState{}
}

// Routes returns the announced routes.
func (a *Agent) Routes() []bgp.Route {
	if s := a.currentSpeaker(); s != nil {
		return s.Routes()
	}
	return []bgp.Route{}
}

func (a *Agent) currentSpeaker() Speaker {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.speaker
}
