package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/control"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/ipam"
	"github.com/penstock-lb/penstock/agent/ledger"
	"github.com/penstock-lb/penstock/agent/system"
	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps"
)

const (
	// resync is how often a pass is made without a reason, and flows are swept.
	resync = 30 * time.Second
)

// Agent is one ingress node's control loop. The methods that read may be called
// concurrently, from New on.
type Agent struct {
	deps Deps
	log  *slog.Logger

	// The loop's own.
	booted, cfg *config.Config // as started with; as in force for what applies live
	datapath    Datapath
	uplinks     *uplinks
	ledger      *ledger.Ledger
	backoff     ledger.Backoff
	retry       *time.Timer
	model       *desired.NodeModel
	lbNodes     ipam.Selector
	seen        watched
	synced      bool // the tables were written at least once
	leaving     bool // for good
	linger      linger
	troubled    string // what keeps programs from devices, as the Node object was told
	last        struct {
		mtu    uint32 // that could be read
		uplink string // that had it
	}

	watchdog control.Watchdog

	mu     sync.RWMutex // guards all below
	status api.Status
	tables Tables // nil while not open
}

// New makes an agent that does nothing before Run.
func New(cfg *config.Config, deps Deps, log *slog.Logger) *Agent {
	now := time.Now()
	lbNodes, _ := config.ParseSelector(cfg.LBNodes) // it is valid
	return &Agent{
		lbNodes: lbNodes,
		deps:    deps, log: log, booted: cfg, cfg: cfg,
		ledger: ledger.New(log, slog.LevelWarn), model: desired.NewNodeModel(),
		status: api.Status{
			Version: deps.Version, Node: cfg.Node, Role: string(cfg.Role), Since: now, State: api.Starting,
			Config:   api.ConfigStatus{File: deps.ConfigFile, Loaded: now},
			Source:   api.SourceOf(cfg),
			Datapath: api.DatapathStatus{Pins: cfg.Datapath.BPFFS},
			Ingress:  &api.IngressStatus{Port: cfg.Tunnel.Port},
		},
	}
}

// Run works until ctx ends; what is in the kernel stays and goes on forwarding, unless this node
// is left for good. It returns early if the data path cannot be loaded or a part of the agent
// ends.
func (a *Agent) Run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	g, work := errgroup.WithContext(work)
	control.Component(work, g, "source", a.deps.Source.Run)
	control.Component(work, g, "configuration", a.deps.Configs.Run)
	if a.deps.Cluster != nil {
		control.Component(work, g, "cluster", a.deps.Cluster.Run)
	}
	g.Go(func() error {
		defer cancel()
		return a.work(ctx, work)
	})
	err := g.Wait()
	if a.leaving { // now that nobody writes them any more
		err = errors.Join(err, control.RemoveFiles(a.booted))
	}
	a.update(func(s *api.Status) { s.State = api.Stopped })
	return err
}

// work is the loop's whole life. It ends by itself after stop, and at once when ctx ends because
// a component failed.
func (a *Agent) work(stop, ctx context.Context) (err error) {
	if err := a.load(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	a.retry = time.NewTimer(0)
	defer a.retry.Stop()
	a.loop(stop, ctx)
	if ctx.Err() != nil {
		return nil // the component's error says why
	}
	return a.shutdown(ctx)
}

// load brings the data path into the kernel, where no packet meets it yet.
func (a *Agent) load() error {
	program, err := system.ProgramOf(a.cfg)
	if err != nil {
		return err
	}
	datapath, tables, err := a.deps.Load(a.cfg)
	if err != nil {
		return fmt.Errorf("load data path: %w", err)
	}
	if program.Compiled {
		a.log.Info("the programs were compiled on this node", "sources", program.Sources, "digest", program.Digest, "changed", program.Changed)
	}
	survived := datapath.Attached()
	if len(survived) > 0 {
		a.log.Info("the data path has forwarded on without an agent", "interfaces", survived)
	}
	a.datapath = datapath
	a.uplinks = &uplinks{datapath: datapath, system: a.deps.System, mode: bpf.NodeMode(a.cfg.Datapath.Mode), log: a.log}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tables = tables
	a.tellNode()
	a.status.Datapath.Loaded = true
	a.status.Datapath.Survived = len(survived) > 0
	a.status.Datapath.Schema = datapath.Schema()
	a.status.Datapath.Program = program
	return nil
}

// close lets go of the data path, which goes on forwarding.
func (a *Agent) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	tables := a.tables
	a.tables = nil
	return errors.Join(tables.Close(), a.datapath.Close())
}

// loop makes a pass whenever something may have changed, until ctx ends.
func (a *Agent) loop(stop, ctx context.Context) {
	resync := time.NewTicker(resync)
	defer resync.Stop()
	watch := time.NewTicker(watchEvery)
	defer watch.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-stop.Done():
			return
		case <-a.deps.Source.Changed():
			a.update(func(s *api.Status) { s.Source.Changed = time.Now() })
		case <-a.deps.Configs.Changed():
			a.reload()
		case <-resync.C:
			a.sweep(ctx)
		case now := <-watch.C:
			if !a.watch(now) {
				continue
			}
		case <-a.retry.C:
		}
		a.pass(ctx)
	}
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

// Verdicts reads the data path's counters.
func (a *Agent) Verdicts() ([]maps.VerdictCount, error) {
	a.mu.RLock() // holds off close
	defer a.mu.RUnlock()
	if a.tables == nil {
		return nil, errNotLoaded
	}
	return a.tables.Verdicts()
}

func (a *Agent) events() (maps.NodeEvents, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.tables == nil {
		return maps.NodeEvents{}, errNotLoaded
	}
	return a.tables.Events()
}

// Services are LB nodes' affair: there are none.
func (a *Agent) Services() ([]maps.ServiceStatus, error) { return []maps.ServiceStatus{}, nil }

// Peers are LB nodes' affair: there are none.
func (a *Agent) Peers() []bgp.PeerState { return []bgp.PeerState{} }

// Routes are LB nodes' affair: there are none.
func (a *Agent) Routes() []bgp.Route { return []bgp.Route{} }
