package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/control"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/system"
	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps"
)

// outcome is what one pass wanted and did.
type outcome struct {
	desired.NodeState
	ingress    api.IngressStatus
	forwarding []api.ForwardingStatus
	own        error // the node's addresses cannot be read, or are not those of its Node object
	sync       error // the tables could not be written
	attach     error
}

// pass carries the whole wanted state out once: tables first, so that no program ever
// runs on empty ones.
func (a *Agent) pass(ctx context.Context) {
	began := time.Now()
	a.watchdog.Begin(began)
	defer a.watchdog.End()
	delta, synced := a.deps.Source.Delta()
	if !synced {
		a.update(func(s *api.Status) { s.Source.Problems = nonNil(delta.Problems) })
		return
	}
	out := a.want(delta)
	pods, unplaced := a.place(out.Pods)
	mtu, from, mtuErr := a.mtu()
	out.ingress = ingressStatus(out.NodeState, pods, mtu, from, a.booted.Tunnel.Port)
	out.sync = errors.Join(mtuErr, a.sync(ctx, maps.NodeWant{Members: out.Members, Pods: pods, MTU: mtu}))
	if a.synced {
		out.attach = a.uplinks.ensure(a.cfg.Datapath.Interfaces, began)
	}
	a.seen.families = families(pods)
	out.forwarding = system.ForwardingOff(a.deps.System, a.seen.families, a.uplinks.status(), "packets to pods")
	a.report(out)
	failed := errors.Join(out.own, out.sync, out.attach) != nil
	a.publish(delta, out, began, a.schedule(failed, unplaced))
	a.tellNode()
}

// want is the wanted state. An address of the Node object that this node has not is no
// reason to leave it out: it may be a moment away. That it has none of them is one to say so.
func (a *Agent) want(delta desired.Delta) outcome {
	published := a.deps.Cluster != nil
	now := time.Now()
	if delta.NodesChanged || delta.Reset {
		a.linger.update(delta.Nodes, a.lbNodes, now)
	}
	a.model.Apply(delta, desired.Site{
		Node: a.booted.Node, TunnelPort: a.booted.Tunnel.Port, LBNodes: a.lbNodes, Lingering: a.linger.names(now, a.cfg.DrainTimeout+lbMargin),
		Publishes: published, Fresh: published && time.Since(a.status.Since) < control.Introduction,
	})
	if delta.NodesChanged || delta.Reset {
		nodes := api.Nodes(delta.Nodes)
		a.update(func(s *api.Status) { s.Nodes = nodes })
	}
	out := outcome{NodeState: a.model.State()}
	own, err := a.deps.System.Addresses()
	if err != nil {
		out.own = err
		return out
	}
	var named []netip.Addr
	for _, m := range out.Members {
		if m.Self {
			named = append(named, m.Addr)
		}
	}
	has := func(addr netip.Addr) bool { _, ok := own[addr]; return ok }
	if len(named) > 0 && !slices.ContainsFunc(named, has) {
		out.own = fmt.Errorf("this node has none of the addresses %v of Node %s: packets for it go elsewhere; see that node in the configuration names this node", named, a.booted.Node)
	}
	return out
}

// place finds the network namespace of each pod.
func (a *Agent) place(addrs []netip.Addr) (pods []maps.Pod, unplaced bool) {
	pods = make([]maps.Pod, len(addrs))
	for i, addr := range addrs {
		pods[i] = maps.Pod{Addr: addr, Netns: a.deps.System.PodNetns(addr)}
		unplaced = unplaced || pods[i].Netns == bpf.PodNetnsUnknown
	}
	return pods, unplaced
}

// mtu is what fits the way from the LB nodes, as far as this node can tell.
func (a *Agent) mtu() (uint32, string, error) {
	if m := a.booted.Backend.MTU; m != 0 {
		return uint32(m), "backend.mtu", nil
	}
	names, err := a.uplinks.wanted(a.cfg.Datapath.Interfaces)
	if err != nil {
		return 0, "", nil // attaching says so
	}
	mtu, name, err := a.uplinks.leastMTU(names)
	if mtu != 0 {
		a.last.mtu, a.last.uplink = mtu, name
		return mtu, name, nil // a missing uplink is reported where it is attached
	}
	return a.last.mtu, a.last.uplink, err // flows may begin again before it can be read
}

func (a *Agent) sync(ctx context.Context, want maps.NodeWant) error {
	if err := a.tables.Sync(ctx, want); err != nil {
		return fmt.Errorf("write tables: %w", err)
	}
	a.synced = true
	return nil
}

// sweep frees the flows that have expired.
func (a *Agent) sweep(ctx context.Context) {
	stats, err := a.tables.Sweep(ctx)
	a.log.Debug("flows swept", "scanned", stats.Scanned, "deleted", stats.Deleted, "err", err)
	flows, flowsErr := a.tables.Flows()
	a.update(func(s *api.Status) {
		s.Datapath.SweepError = text(errors.Join(err, flowsErr))
		if err == nil && flowsErr == nil {
			s.Datapath.SweptAt, s.Datapath.Flows = time.Now(), flows
		}
	})
}

// unplacedRetry is when a pod whose namespace was not found is looked for again: its veth
// may come after its endpoint.
const unplacedRetry = 5 * time.Second

// schedule sets the time of the next attempt after a failure; zero without one.
func (a *Agent) schedule(failed, unplaced bool) time.Time {
	a.retry.Stop()
	if !failed {
		a.backoff.Reset()
		switch end := a.linger.until; {
		case unplaced:
			a.retry.Reset(unplacedRetry)
		case !end.IsZero():
			a.retry.Reset(time.Until(end))
		}
		return time.Time{}
	}
	delay := a.backoff.Next()
	a.retry.Reset(delay)
	return time.Now().Add(delay)
}

func ingressStatus(want desired.NodeState, pods []maps.Pod, mtu uint32, from string, port uint16) api.IngressStatus {
	s := api.IngressStatus{Port: port, MTU: mtu, MTUFrom: from, LBs: []netip.Addr{}, Own: []netip.Addr{}, Pods: pods}
	s.Take(want.Members)
	return s
}

// families tells which address families have a pod that is not in the node's own
// namespace: its packets are forwarded.
func families(pods []maps.Pod) map[string]bool {
	has := map[string]bool{}
	for _, p := range pods {
		if p.Netns != bpf.PodNetnsOwn {
			has[system.FamilyOf(p.Addr)] = true
		}
	}
	return has
}
