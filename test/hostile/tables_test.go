package hostile

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/packet"
)

// Entries that are lost are made anew, one at a time.
func TestLostEntries(t *testing.T) {
	for _, name := range []string{"frontends", "backends", "backend_indices", "services", "slots"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.sync(service("a", maps.TCP, vip4, pod4))
			m := r.lb.Map(name)
			key := make([]byte, m.KeySize())
			value := make([]byte, m.ValueSize())
			switch name {
			case "backends":
				r.must(m.Put(uint32(0), value))
			case "slots":
				for line := range m.MaxEntries() {
					r.must(m.Put(line, value))
				}
			default:
				for m.NextKey(nil, key) == nil {
					r.must(m.Delete(key))
				}
			}
			r.restart()
			r.sync(service("a", maps.TCP, vip4, pod4))
			for i := range 100 {
				r.is("forward", packet.TCP(from(i), vip4, packet.SYN, nil).Frame())
			}
			r.goesTo(vip4, pod4)
		})
	}
}

// An agent that died while it made its pins is followed by one that makes them.
func TestHalfMadePins(t *testing.T) {
	for name, half := range map[string]func(pins string) error{
		"nothing": os.RemoveAll,
		"an empty temporary directory": func(pins string) error {
			return errors.Join(os.RemoveAll(pins), os.MkdirAll(filepath.Join(pins, "new-tables"), 0o755))
		},
		"some maps": func(pins string) error {
			dirs, err := filepath.Glob(filepath.Join(pins, "tables-*"))
			return errors.Join(err, os.Rename(dirs[0], filepath.Join(pins, "new-tables")), os.Remove(filepath.Join(pins, "new-tables", "slots")))
		},
		"tables without flows": func(pins string) error {
			dirs, err := filepath.Glob(filepath.Join(pins, "state-*"))
			return errors.Join(err, os.RemoveAll(dirs[0]))
		},
		"no links": func(pins string) error { return os.MkdirAll(filepath.Join(pins, "links"), 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.sync(service("a", maps.TCP, vip4, pod4))
			r.close()
			r.must(half(r.cfg.Pins))
			r.open()
			r.sync(service("a", maps.TCP, vip4, pod4))
			r.is("forward", packet.TCP(client4, vip4, packet.SYN, nil).Frame())
			left, err := filepath.Glob(filepath.Join(r.cfg.Pins, "new-*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
	t.Run("a map is missing", func(t *testing.T) {
		r := newRig(t)
		r.close()
		dirs, err := filepath.Glob(filepath.Join(r.cfg.Pins, "tables-*"))
		r.must(err)
		r.must(os.Remove(filepath.Join(dirs[0], "slots")))
		lb, err := bpf.Load(r.cfg, slog.New(slog.DiscardHandler))
		if err == nil {
			lb.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "slots") {
			t.Errorf("the error names no map: %v", err)
		}
	})
}

// patience is a context that ends after so many looks at it.
type patience struct {
	context.Context
	left int
}

func (p *patience) Err() error {
	if p.left--; p.left < 0 {
		return context.Canceled
	}
	return nil
}

// A service that shrinks leaves its region, at which a frontend points that is to
// move to another service. If a third one takes the region before the move, that
// frontend's clients meet the wrong pods; if Sync ends there, they go on to.
func TestRegionIsLeftByAllBeforeItIsReused(t *testing.T) {
	r := newRig(t, func(c *bpf.Config) { c.MaxRows = 512 })
	moving := maps.Frontend{VIP: vip4.Addr(), Port: 81, Proto: maps.TCP}
	s := service("shrinks", maps.TCP, vip4, pod4, addr("10.1.0.2", 8080))
	s.Frontends = append(s.Frontends, moving)
	r.sync(s) // 256 of 512 rows
	s = service("shrinks", maps.TCP, vip4, pod4)
	u := service("u", maps.TCP, addr("198.51.100.2", 80), addr("10.1.0.3", 8080))
	v := service("v", maps.TCP, addr("198.51.100.3", 80), addr("10.1.0.4", 8080))
	heir := service("heir", maps.TCP, addr("198.51.100.1", 81), pod4)
	for stop := range 5 {
		r.tables.Sync(&patience{context.Background(), stop}, r.want(s, u, v, heir))
		r.goesTo(addr("198.51.100.1", 81), pod4, addr("10.1.0.2", 8080))
	}
}

// An agent that dies while it clears a removed backend leaves the element without
// its key. Flows know the element by its number and must not go on there.
func TestCrashBetweenTheStepsOfClear(t *testing.T) {
	r := newRig(t)
	gone := addr("10.1.0.2", 8080)
	r.sync(service("web", maps.TCP, vip4, gone))
	r.handshake(client4, vip4)
	_, f := r.flow(client4, vip4, maps.TCP)
	var raw bpf.Backend
	r.must(r.lb.Map("backends").Lookup(f.Backend, &raw))
	r.sync(service("web", maps.TCP, vip4, pod4))
	r.must(r.lb.Map("backends").Put(f.Backend, raw)) // the second step did not happen
	r.restart()
	r.sync(service("web", maps.TCP, vip4, pod4))
	got := r.is("forward", packet.TCP(client4, vip4, packet.ACK, nil).Frame())
	if _, dst := ends(got); dst == gone {
		t.Errorf("a packet went to %s, which was removed", dst)
	}
}

// As before, but the agent died before clear, when the service itself was already
// gone; its number is the next service's.
func TestCrashBeforeClear(t *testing.T) {
	r := newRig(t)
	var gone []netip.AddrPort
	for i := range 8 {
		gone = append(gone, addr("10.1.0.2", uint16(8080+i)))
	}
	r.sync(service("web", maps.TCP, vip4, gone...))
	var client netip.AddrPort
	var f bpf.Flow
	for i := 0; f.Backend == 0; i++ { // the first element is the next service's
		client = from(i)
		r.handshake(client, vip4)
		_, f = r.flow(client, vip4, maps.TCP)
	}
	var raw bpf.Backend
	r.must(r.lb.Map("backends").Lookup(f.Backend, &raw))
	r.sync()
	r.must(r.lb.Map("backends").Put(f.Backend, raw))
	r.must(r.lb.Map("backend_indices").Put(bpf.BackendKey{Addr: raw.Addr, Service: raw.Service, Port: raw.Port}, f.Backend))
	r.restart()
	r.sync(service("other", maps.TCP, vip4, pod4))
	got := r.is("forward", packet.TCP(client, vip4, packet.ACK, nil).Frame())
	if _, dst := ends(got); dst != pod4 {
		t.Errorf("a packet went to %s, which was removed", dst)
	}
}

// The program sees a row of another service's backend for what it is.
func TestRowOfAnotherService(t *testing.T) {
	r := newRig(t)
	other := addr("10.1.0.9", 8080)
	r.sync(service("a", maps.TCP, vip4, pod4), service("b", maps.TCP, addr("198.51.100.2", 80), other))
	a, b := r.regionOf(vip4), r.regionOf(addr("198.51.100.2", 80))
	r.must(r.lb.Map("regions").Put(a.service, b.Region))
	r.is("drop_table", packet.TCP(client4, vip4, packet.SYN, nil).Frame())
}

// Whatever a region's entry says, after a restart and a Sync each service has
// its own rows.
func TestCorruptRegions(t *testing.T) {
	podB := addr("10.1.0.9", 8080)
	vipB := addr("198.51.100.2", 80)
	for name, change := range map[string]func(*bpf.Region){
		"base not aligned":    func(r *bpf.Region) { r.Table += 64 },
		"order of one row":    func(r *bpf.Region) { r.Table -= r.Table % bpf.RegionAlign },
		"order of everything": func(r *bpf.Region) { r.Table |= bpf.RegionAlign - 1 },
		"base out of range":   func(r *bpf.Region) { r.Table += 1 << 20 },
		"end out of range":    func(r *bpf.Region) { r.Table = 1<<12 - 64 + 7 },
		"base wraps":          func(r *bpf.Region) { r.Table = ^uint32(63) + 7 },
		"another's region":    func(r *bpf.Region) { r.Table ^= 128 },
		"both":                func(r *bpf.Region) { r.Table = 8 },
		"flags":               func(r *bpf.Region) { r.Flags = ^r.Flags },
		"random":              func(r *bpf.Region) { *r = bpf.Region{Table: 0x9abcdef3, Flags: 0x2468} },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			want := []maps.Service{service("a", maps.TCP, vip4, pod4), service("b", maps.TCP, vipB, podB)}
			r.sync(want...)
			region := r.regionOf(vip4)
			change(&region.Region)
			r.must(r.lb.Map("regions").Put(region.service, region.Region))
			r.restart()
			for range 2 {
				r.sync(want...)
				for i := range 300 {
					r.is("forward", packet.TCP(from(i), vip4, packet.SYN, nil).Frame())
					r.is("forward", packet.TCP(from(i), vipB, packet.SYN, nil).Frame())
				}
				r.goesTo(vip4, pod4)
				r.goesTo(vipB, podB)
				if t.Failed() {
					return
				}
			}
		})
	}
}

// Whatever service a frontend is said to be of, a restart and a Sync make it right.
func TestCorruptFrontends(t *testing.T) {
	podB, vipB := addr("10.1.0.9", 8080), addr("198.51.100.2", 80)
	for name, change := range map[string]func(*bpf.Frontend){
		"unknown":   func(f *bpf.Frontend) { f.Service = 77 },
		"none":      func(f *bpf.Frontend) { f.Service = 0 },
		"the other": func(f *bpf.Frontend) { f.Service ^= 3 },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			want := []maps.Service{service("a", maps.TCP, vip4, pod4), service("b", maps.TCP, vipB, podB)}
			r.sync(want...)
			key := bpf.FrontendKey{Vip: bpf.AddrFrom(vip4.Addr()), Port: bpf.Htons(80), Proto: 6}
			var fe bpf.Frontend
			r.must(r.lb.Map("frontends").Lookup(key, &fe))
			change(&fe)
			r.must(r.lb.Map("frontends").Put(key, fe))
			r.restart()
			r.sync(want...)
			r.goesTo(vip4, pod4)
			r.goesTo(vipB, podB)
		})
	}
}

// owned is a service's region.
type owned struct {
	bpf.Region
	service uint32
}

func (r *rig) regionOf(vip netip.AddrPort) owned {
	r.t.Helper()
	var fe bpf.Frontend
	key := bpf.FrontendKey{Vip: bpf.AddrFrom(vip.Addr()), Port: bpf.Htons(vip.Port()), Proto: 6}
	r.must(r.lb.Map("frontends").Lookup(key, &fe))
	o := owned{service: fe.Service}
	r.must(r.lb.Map("regions").Lookup(fe.Service, &o.Region))
	return o
}

// The entry that makes an address a VIP is written again if it is lost.
func TestLostVIPEntry(t *testing.T) {
	r := newRig(t)
	r.sync(service("a", maps.TCP, vip4, pod4))
	r.must(r.lb.Map("frontends").Delete(bpf.FrontendKey{Vip: bpf.AddrFrom(vip4.Addr())}))
	r.restart()
	r.sync(service("a", maps.TCP, vip4, pod4))
	r.is("icmp_echo", packet.Echo(client4.Addr(), vip4.Addr(), 1, 1, nil).Frame())
}

// A VIP whose only port changes stays a VIP all the time: else its packets go to
// the kernel, which sends them back to the router that they came from.
func TestVIPStaysWhileItsPortChanges(t *testing.T) {
	r := newRig(t)
	r.sync(service("web", maps.TCP, vip4, pod4))
	moved := service("web", maps.TCP, port(vip4, 81), pod4)
	r.tables.Sync(&patience{context.Background(), 0}, r.want(moved)) // looks at the context once, after the first prune
	r.is("icmp_echo", packet.Echo(client4.Addr(), vip4.Addr(), 1, 1, nil).Frame())
}

// Whatever stands in the entries, a restart and a Sync make them right.
func TestRandomCorruption(t *testing.T) {
	for _, name := range []string{"backends", "backend_indices", "services"} {
		t.Run(name, func(t *testing.T) { randomCorruption(t, name) })
	}
}

func randomCorruption(t *testing.T, name string) {
	r := newRig(t)
	random := rand.New(rand.NewPCG(1, 2))
	podB, vipB := addr("10.1.0.9", 8080), addr("198.51.100.2", 80)
	want := []maps.Service{service("a", maps.TCP, vip4, pod4), service("b", maps.TCP, vipB, podB)}
	for round := range 10 {
		r.sync(want...)
		r.corrupt(random, name)
		r.restart()
		r.sync(want...)
		r.goesTo(vip4, pod4)
		r.goesTo(vipB, podB)
		r.is("forward", packet.TCP(from(1000+round), vip4, packet.SYN, nil).Frame())
		r.is("forward", packet.TCP(from(1000+round), vipB, packet.SYN, nil).Frame())
		list, err := r.tables.Services()
		if err != nil || len(list) != 2 || len(list[0].Backends) != 1 || len(list[1].Backends) != 1 {
			t.Fatalf("round %d: services %+v, %v", round, list, err)
		}
	}
}

// corrupt changes bytes in some of a map's values, and adds an entry of random bytes.
func (r *rig) corrupt(random *rand.Rand, name string) {
	r.t.Helper()
	m := r.lb.Map(name)
	key, value := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
	var keys [][]byte
	it := m.Iterate()
	for it.Next(&key, &value) && len(keys) < 4 {
		keys = append(keys, slices.Clone(key))
	}
	for _, k := range keys {
		r.must(m.Lookup(k, &value))
		for range random.IntN(3) {
			value[random.IntN(len(value))] ^= byte(1 + random.IntN(255))
		}
		r.must(m.Put(k, value))
	}
	if name == "backends" {
		return // an array
	}
	for i := range key {
		key[i] = byte(random.IntN(256))
	}
	for i := range value {
		value[i] = byte(random.IntN(256))
	}
	r.must(m.Put(key, value))
}
