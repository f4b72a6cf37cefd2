package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/drain"
	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/maps"
)

// service makes a wanted service: "web 192.0.2.1,192.0.2.2 1" has two VIPs and
// the usable backend 10.0.0.1, with 0 it has one that takes no new flows.
func service(text string) maps.Service {
	f := strings.Fields(text)
	s := maps.Service{Name: f[0]}
	for vip := range strings.SplitSeq(f[1], ",") {
		s.Frontends = append(s.Frontends, maps.Frontend{VIP: netip.MustParseAddr(vip), Port: uint16(f[0][0]), Proto: maps.TCP})
	}
	backend := maps.Backend{Addr: netip.MustParseAddrPort("10.0.0." + f[2] + ":80"), Weight: 1}
	if f[2] == "0" {
		backend.Draining = true
	}
	s.Backends = []maps.Backend{backend}
	return s
}

// state makes the wanted state that desired.From would make of the services.
func state(services ...string) desired.State {
	var st desired.State
	vips := map[netip.Addr][]string{}
	for _, text := range services {
		s := service(text)
		st.Services = append(st.Services, s)
		for _, f := range s.Frontends {
			if s.Backends[0].Eligible() {
				vips[f.VIP] = append(vips[f.VIP], s.Name)
			} else {
				vips[f.VIP] = append(vips[f.VIP], []string{}...)
			}
		}
	}
	for addr, names := range vips {
		v := desired.VIP{Addr: addr, Path: bgp.Path{Prefix: netip.PrefixFrom(addr, addr.BitLen())}, Services: names, Reason: desired.Announceable}
		if len(names) == 0 {
			v.Reason = desired.NoUsableEndpoints
		}
		st.VIPs = append(st.VIPs, v)
	}
	slices.SortFunc(st.VIPs, func(a, b desired.VIP) int { return a.Addr.Compare(b.Addr) })
	return st
}

func (w *world) reconciler() *reconciler {
	return newReconciler(fakeTables{w}, fakeSpeaker{w}, fakeResolver{w}, func(netip.Addr) bool { return true })
}

func attachOK() block { return block{} }

func TestOrder(t *testing.T) {
	type step struct {
		want    desired.State
		fail    string // the call that fails
		refuse  string // the service that the tables refuse, or the address that the routers do
		peer    error  // what the speaker says of a session that cannot be opened
		blocked desired.Reason
		calls   []string
		reasons map[string]desired.Reason // of the VIPs that are not announced
		err     bool
	}
	one, two := "web 192.0.2.1 1", "api 192.0.2.2 1"
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"from nothing to two and back", []step{
			{want: state(one, two), calls: []string{"tables.Sync(web api)", "attach", "speaker.Sync(192.0.2.1 192.0.2.2)"}},
			{want: state(two), calls: []string{"speaker.Sync(192.0.2.2)", "tables.Sync(api)", "attach", "speaker.Sync(192.0.2.2)"}},
			{want: state(), calls: []string{"speaker.Sync()", "tables.Sync()", "attach", "speaker.Sync()"}},
		}},
		{"endpoint lost is withdrawn before its table is emptied", []step{
			{want: state(one), calls: []string{"tables.Sync(web)", "attach", "speaker.Sync(192.0.2.1)"}},
			{want: state("web 192.0.2.1 0"), calls: []string{"speaker.Sync()", "tables.Sync(web)", "attach", "speaker.Sync()"},
				reasons: map[string]desired.Reason{"192.0.2.1": desired.NoUsableEndpoints}},
		}},
		{"a refused service is not announced, the others are", []step{
			{want: state(one, two), refuse: "web", calls: []string{"tables.Sync(web api)", "attach", "speaker.Sync(192.0.2.2)"},
				reasons: map[string]desired.Reason{"192.0.2.1": Refused}},
			{want: state(one, two), calls: []string{"tables.Sync(web api)", "attach", "speaker.Sync(192.0.2.1 192.0.2.2)"}},
		}},
		{"a refused change leaves what was in force", []step{
			{want: state(one), calls: []string{"tables.Sync(web)", "attach", "speaker.Sync(192.0.2.1)"}},
			{want: state("web 192.0.2.1,192.0.2.9 1"), refuse: "web", calls: []string{"tables.Sync(web)", "attach", "speaker.Sync(192.0.2.1)"},
				reasons: map[string]desired.Reason{"192.0.2.9": Refused}},
		}},
		{"a refused change that leaves no wanted backend", []step{
			{want: state(one), calls: []string{"tables.Sync(web)", "attach", "speaker.Sync(192.0.2.1)"}},
			{want: state("web 192.0.2.1 2"), refuse: "web", calls: []string{"tables.Sync(web)", "attach", "speaker.Sync()"},
				reasons: map[string]desired.Reason{"192.0.2.1": Refused}},
		}},
		{"one service in the kernel is enough for a VIP", []step{
			{want: state(one, "dns 192.0.2.1 1"), refuse: "web", calls: []string{"tables.Sync(web dns)", "attach", "speaker.Sync(192.0.2.1)"}},
		}},
		{"a service without usable backend does not carry a VIP", []step{
			{want: state(one, "dns 192.0.2.1 0"), refuse: "web", calls: []string{"tables.Sync(web dns)", "attach", "speaker.Sync()"},
				reasons: map[string]desired.Reason{"192.0.2.1": Refused}},
		}},
		{"tables that cannot be written leave the announced in force", []step{
			{want: state(one), calls: []string{"tables.Sync(web)", "attach", "speaker.Sync(192.0.2.1)"}},
			{want: state(one, two), fail: "tables.Sync(web api)", calls: []string{"tables.Sync(web api)", "attach", "speaker.Sync(192.0.2.1)"},
				reasons: map[string]desired.Reason{"192.0.2.2": NotInKernel}, err: true},
		}},
		{"an address that the tables do not have yet is not announced by an old service's name", []step{
			{want: state(one), calls: []string{"tables.Sync(web)", "attach", "speaker.Sync(192.0.2.1)"}},
			{want: state("web 192.0.2.1,192.0.2.9 1"), fail: "tables.Sync(web)", calls: []string{"tables.Sync(web)", "attach", "speaker.Sync(192.0.2.1)"},
				reasons: map[string]desired.Reason{"192.0.2.9": NotInKernel}, err: true},
		}},
		{"a VIP that changes hands, in tables that cannot be written", []step{
			{want: state(one), calls: []string{"tables.Sync(web)", "attach", "speaker.Sync(192.0.2.1)"}},
			{want: state("new 192.0.2.1 1"), fail: "tables.Sync(new)", calls: []string{"tables.Sync(new)", "attach", "speaker.Sync(192.0.2.1)"}, err: true},
		}},
		{"nothing is announced before the first write", []step{
			{want: state(one), fail: "tables.Sync(web)", calls: []string{"tables.Sync(web)"},
				reasons: map[string]desired.Reason{"192.0.2.1": NotSynced}, err: true},
			{want: state(one), calls: []string{"tables.Sync(web)", "attach", "speaker.Sync(192.0.2.1)"}},
		}},
		{"a stopped speaker withdraws nothing, so all tables stay", []step{
			{want: state(one, two), calls: []string{"tables.Sync(web api)", "attach", "speaker.Sync(192.0.2.1 192.0.2.2)"}},
			{want: state(two), fail: "speaker.Sync(192.0.2.2)", calls: []string{"speaker.Sync(192.0.2.2)", "tables.Sync(web api)", "attach", "speaker.Sync(192.0.2.2)"},
				reasons: map[string]desired.Reason{"192.0.2.2": AnnounceFailed}, err: true},
			{want: state(two), calls: []string{"speaker.Sync(192.0.2.2)", "tables.Sync(api)", "attach", "speaker.Sync(192.0.2.2)"}},
		}},
		{"a path that could not be withdrawn keeps its tables", []step{
			{want: state(one, two, "dns 192.0.2.3 1"), calls: []string{"tables.Sync(web api dns)", "attach", "speaker.Sync(192.0.2.1 192.0.2.2 192.0.2.3)"}},
			{want: state(two), refuse: "192.0.2.1", calls: []string{"speaker.Sync(192.0.2.2)", "tables.Sync(web api)", "attach", "speaker.Sync(192.0.2.2)"}, err: true},
			{want: state(two), calls: []string{"speaker.Sync(192.0.2.2)", "tables.Sync(api)", "attach", "speaker.Sync(192.0.2.2)"}},
		}},
		{"a held service must not take another address's service away", []step{
			{want: state("b 192.0.2.1 1", "d 192.0.2.3 1"), calls: []string{"tables.Sync(b d)", "attach", "speaker.Sync(192.0.2.1 192.0.2.3)"}},
			{want: state("b 192.0.2.3 1"), refuse: "192.0.2.1", calls: []string{"speaker.Sync(192.0.2.3)", "tables.Sync(b d)", "attach", "speaker.Sync(192.0.2.3)"}, err: true},
		}},
		{"a path that was refused is not announced by a withdrawal", []step{
			{want: state(one, two), refuse: "192.0.2.1", calls: []string{"tables.Sync(web api)", "attach", "speaker.Sync(192.0.2.1 192.0.2.2)"},
				reasons: map[string]desired.Reason{"192.0.2.1": AnnounceFailed}, err: true},
			{want: state("new 192.0.2.1 1", two), refuse: "new", fail: "speaker.Sync(192.0.2.2)",
				calls:   []string{"tables.Sync(new api)", "attach", "speaker.Sync(192.0.2.2)"},
				reasons: map[string]desired.Reason{"192.0.2.1": Refused, "192.0.2.2": AnnounceFailed}, err: true},
			{want: state("new 192.0.2.1 1"), refuse: "new", calls: []string{"speaker.Sync()", "tables.Sync(new)", "attach", "speaker.Sync()"},
				reasons: map[string]desired.Reason{"192.0.2.1": Refused}},
		}},
		{"a path that could not be announced costs only itself", []step{
			{want: state(one, two), refuse: "192.0.2.1", calls: []string{"tables.Sync(web api)", "attach", "speaker.Sync(192.0.2.1 192.0.2.2)"},
				reasons: map[string]desired.Reason{"192.0.2.1": AnnounceFailed}, err: true},
		}},
		{"a session that cannot be opened holds nothing back", []step{
			{want: state(one, two), peer: errInjected, calls: []string{"tables.Sync(web api)", "attach", "speaker.Sync(192.0.2.1 192.0.2.2)"}, err: true},
			{want: state(two), peer: errInjected, calls: []string{"speaker.Sync(192.0.2.2)", "tables.Sync(api)", "attach", "speaker.Sync(192.0.2.2)"}, err: true},
		}},
		{"blocked by the interfaces", []step{
			{want: state(one), blocked: NoInterface, calls: []string{"tables.Sync(web)", "attach", "speaker.Sync()"},
				reasons: map[string]desired.Reason{"192.0.2.1": NoInterface}},
		}},
		{"a VIP that changes hands stays announced", []step{
			{want: state(one), calls: []string{"tables.Sync(web)", "attach", "speaker.Sync(192.0.2.1)"}},
			{want: state("new 192.0.2.1 1"), calls: []string{"tables.Sync(new)", "attach", "speaker.Sync(192.0.2.1)"}},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			r := w.reconciler()
			for i, s := range tt.steps {
				w.failing(s.fail, s.refuse)
				w.otherPeer = s.peer
				got := r.apply(t.Context(), s.want, func() block { _ = w.call("attach"); return block{all: s.blocked} })
				w.check(t, i, got, s.calls, s.reasons, s.err)
			}
			if len(w.broken) > 0 {
				t.Error(w.broken)
			}
		})
	}
}

// Whatever fails, no router is told of an address before the tables have it, and
// no table goes while a router may still send; and once nothing fails any more,
// what is announced is what is wanted.
func TestOrderHoldsWhateverFails(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		r := w.reconciler()
		held := heldBack(t, r)
		failing := true
		flip := rapid.IntRange(0, 3)
		w.fail = func(string) error {
			if failing && flip.Draw(t, "fail") == 0 {
				return errInjected
			}
			return nil
		}
		w.refuse = func(string) error {
			if failing && flip.Draw(t, "refuse") == 0 {
				return errInjected
			}
			return nil
		}
		var want desired.State
		for range rapid.IntRange(1, 12).Draw(t, "passes") {
			want = drawState(t)
			blocked := rapid.SampledFrom([]desired.Reason{"", "", "", NoInterface}).Draw(t, "blocked")
			r.apply(context.Background(), want, func() block { return block{all: blocked} })
		}
		failing = false
		r.apply(context.Background(), want, attachOK)
		if len(w.broken) > 0 {
			t.Fatalf("%v\ncalls:\n%s", w.broken, strings.Join(w.calls, "\n"))
		}
		var announceable []string
		for _, v := range want.VIPs {
			if v.Reason == desired.Announceable && !held[v.Addr] {
				announceable = append(announceable, v.Addr.String())
			}
		}
		if d := cmp.Diff(announceable, w.announced()); d != "" {
			t.Fatalf("at the end: want -, announced +\n%s", d)
		}
		checkDressed(t, w)
	})
}

// heldBack gives the last word to somebody who holds some VIPs back, and has the others be the
// last choice. Who has it may change his mind at any time.
func heldBack(t *rapid.T, r *reconciler) map[netip.Addr]bool {
	held := map[netip.Addr]bool{}
	r.last = func(v verdict, on []maps.Service) verdict {
		if v.Reason != desired.Announceable {
			return v
		}
		if !slices.ContainsFunc(on, func(s maps.Service) bool { return carries(s, v.Addr) }) {
			t.Fatalf("%s could be announced, and the tables have %v on it", v.Addr, on)
		}
		if held[v.Addr] = rapid.IntRange(0, 4).Draw(t, "hold back") == 0; held[v.Addr] {
			v.Reason = Damped
			return v
		}
		v.Path = drain.Options{}.Path(v.Path)
		return v
	}
	return held
}

// checkDressed fails unless routers have all paths as the last word was.
func checkDressed(t *rapid.T, w *world) {
	for prefix, path := range w.paths {
		if a, _ := path.For("tor"); !slices.Contains(a.Communities, bgp.GracefulShutdown) {
			t.Fatalf("routers have %s with %+v", prefix, a)
		}
	}
}

func drawState(t *rapid.T) desired.State {
	var services []string
	for _, name := range []string{"a", "b", "c", "d"} {
		vips := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}), 0, 3, rapid.ID[string]).Draw(t, name+" vips")
		if len(vips) > 0 {
			services = append(services, fmt.Sprintf("%s %s %d", name, strings.Join(vips, ","), rapid.IntRange(0, 2).Draw(t, name+" backend")))
		}
	}
	return state(services...)
}

func TestSplit(t *testing.T) {
	a, b, whole := &maps.ServiceError{Service: "a", Err: errInjected}, &maps.ServiceError{Service: "b", Err: errInjected}, errors.New("map is gone")
	for _, tt := range []struct {
		name   string
		err    error
		failed []string
		rest   string
	}{
		{"nothing", nil, nil, ""},
		{"one service", a, []string{"a"}, ""},
		{"two services", errors.Join(a, b), []string{"a", "b"}, ""},
		{"wrapped", fmt.Errorf("sync: %w", errors.Join(a, fmt.Errorf("more: %w", errors.Join(b)))), []string{"a", "b"}, ""},
		{"the whole", fmt.Errorf("sync: %w", whole), nil, "sync: map is gone"},
		{"both", errors.Join(a, fmt.Errorf("prune: %w", whole)), []string{"a"}, "prune: map is gone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			failed, rest := split(tt.err)
			for _, name := range tt.failed {
				if !errors.Is(failed[name], errInjected) {
					t.Errorf("service %s: %v", name, failed[name])
				}
			}
			if len(failed) != len(tt.failed) {
				t.Errorf("failed: %v, want %v", failed, tt.failed)
			}
			if got := fmt.Sprint(rest); rest != nil && got != tt.rest || rest == nil && tt.rest != "" {
				t.Errorf("rest %v, want %q", rest, tt.rest)
			}
		})
	}
}

// failing has one call fail, and one service, path or route be refused.
func (w *world) failing(call, refused string) {
	inject := func(which string) func(string) error {
		return func(got string) error {
			if got == which {
				return errInjected
			}
			return nil
		}
	}
	w.fail, w.refuse = inject(call), inject(refused)
}

// check compares what the ith step did with what it should.
func (w *world) check(t *testing.T, i int, got outcome, calls []string, reasons map[string]desired.Reason, failed bool) {
	t.Helper()
	if d := cmp.Diff(calls, w.took()); d != "" {
		t.Errorf("step %d: calls: want -, got +\n%s", i, d)
	}
	given := map[string]desired.Reason{}
	for _, v := range got.vips {
		if !v.announced {
			given[v.Addr.String()] = v.Reason
		}
	}
	if d := cmp.Diff(reasons, given, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("step %d: reasons: want -, got +\n%s", i, d)
	}
	if (got.err != nil) != failed {
		t.Errorf("step %d: error %v", i, got.err)
	}
}
