package history

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/maps"
)

var discard = slog.New(slog.DiscardHandler)

func mustClose(t *testing.T, h *History) {
	t.Helper()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
}

// A file that is missing or of no use is a first look, and the log says so.
func TestBadFiles(t *testing.T) {
	const head = `{"version":1,"last":"2026-11-23T12:00:00Z","changed":"2026-11-23T12:00:00Z"`
	tests := []struct{ name, text, log string }{
		{"missing", "", "level=INFO msg=\"no history"},
		{"empty", " ", "level=WARN"},
		{"cut off", head + `,"services":{"a":`, "level=WARN"},
		{"not JSON", "history", "level=WARN"},
		{"other version", `{"version":2}`, "version 2; this one reads 1"},
		{"no time", `{"version":1}`, "level=WARN"},
		{"changed later", `{"version":1,"last":"2026-11-23T12:00:00Z","changed":"2026-11-23T12:00:01Z"}`, "level=WARN"},
		{"rows", head + `,"services":{"a":{"rows":3}}}`, "service a: 3 rows"},
		{"sizes", head + `,"services":{"a":{"sizes":[{"rows":0,"until":"2026-11-23T12:00:00Z"}]}}}`, "service a: 0 former rows"},
		{"address", head + `,"services":{"a":{"endpoints":{"10.0.0.1":{}}}}}`, "level=WARN"},
		{"good", head + `,"services":{}}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "history.json")
			if tt.text != "" {
				if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var log bytes.Buffer
			h := Open(file, options, slog.New(slog.NewTextHandler(&log, nil)))
			if !strings.Contains(log.String(), tt.log) || (tt.log == "") != (log.Len() == 0) {
				t.Errorf("log: %s", log.String())
			}
			got := h.Observe(at(10), web(backend(1)))[0].Backends[0]
			if known := tt.name == "good"; got.BornAt.IsZero() == known {
				t.Errorf("backend: %+v", got)
			}
			if err := h.Save(); err != nil {
				t.Fatal(err)
			}
			if m, err := read(file); err != nil || m.last != at(10) {
				t.Errorf("the new file: %v, %v", m.last, err)
			}
		})
	}
}

// A directory in the place of the file is refused, and what cannot be written says
// what to do.
func TestFileThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	h := Open(dir, options, slog.New(slog.NewTextHandler(&log, nil)))
	if !strings.Contains(log.String(), "not a regular file") {
		t.Errorf("log: %s", log.String())
	}
	h.Observe(at(0), web(backend(1)))
	if err := h.Save(); err == nil || !strings.Contains(err.Error(), "correct source.history") || !strings.Contains(err.Error(), dir) {
		t.Errorf("err = %v", err)
	}
	if err := h.Save(); err == nil || strings.Count(log.String(), "cannot be written") != 1 {
		t.Errorf("err = %v, and one that is not new is logged again: %s", err, log.String())
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := h.Save(); err != nil || !strings.Contains(log.String(), "can be written again") {
		t.Errorf("err = %v, log: %s", err, log.String())
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), ".*.new")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	none := Open("", options, discard)
	none.Observe(at(0), web(backend(1)))
	if err := none.Save(); err != nil {
		t.Error(err)
	}
}

// Save writes when something changed, when what it wrote is old, and a large file
// not all the time.
func TestWhenSaved(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "history.json")
	h := Open(file, options, discard)
	written := func() time.Time {
		t.Helper()
		if err := h.Save(); err != nil {
			t.Fatal(err)
		}
		m, err := read(file)
		if err != nil {
			t.Fatal(err)
		}
		return m.last
	}
	if err := h.Save(); err != nil || h.last != h.saved {
		t.Fatal("nothing was seen, but saved")
	}
	for _, look := range []struct {
		second   float64
		backends []maps.Backend
		large    bool
		want     float64
	}{
		{0, []maps.Backend{backend(1)}, false, 0},
		{1, []maps.Backend{backend(1)}, false, 0},
		{2, []maps.Backend{backend(1), backend(2)}, false, 2},
		{31, []maps.Backend{backend(1), backend(2)}, false, 2},
		{32, []maps.Backend{backend(1), backend(2)}, false, 32},
		{33, []maps.Backend{backend(1)}, true, 32},
		{34, []maps.Backend{backend(1)}, false, 34},
	} {
		h.cost, h.size = time.Hour, large-1
		if look.large {
			h.size = large
		}
		h.Observe(at(look.second), web(look.backends...))
		if got := written(); got != at(look.want) {
			t.Errorf("second %v: saved %s, want %s", look.second, got, at(look.want))
		}
	}
	h.Observe(at(35), web(backend(1)))
	mustClose(t, h)
	if got := written(); got != at(35) {
		t.Errorf("closed: saved %s", got)
	}
}

// Whatever the file holds, reading it fails or gives what writing it gives again.
func FuzzDecode(f *testing.F) {
	h := New(options)
	b := backend(1)
	b.Tunnel = netip.MustParseAddr("2001:db8::1")
	h.Observe(at(0), web(b, backend(2)))
	b.Weight, b.Draining = 2, true
	h.Observe(at(1), web(b))
	data, err := h.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"version":1,"last":"2026-11-23T12:00:00+01:00","services":{"a":{"endpoints":{"[::ffff:1.2.3.4%x]:1":{"since":"0001-01-01T00:00:00Z"}}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decode(data)
		if err != nil {
			return
		}
		again, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		other, err := decode(again)
		if err != nil {
			t.Fatal(err)
		}
		if third, err := other.encode(); err != nil || !bytes.Equal(again, third) {
			t.Errorf("%s\nis read and written as\n%s\nand that as\n%s, %v", data, again, third, err)
		}
		h := New(options)
		h.memory = m
		h.Observe(at(0), web(backend(1)))
	})
}
