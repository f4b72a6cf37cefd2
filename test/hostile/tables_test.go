package hostile

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
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
