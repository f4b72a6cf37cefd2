package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ErrStateSchema says that the pinned flows were written by a program whose flow
// table has another layout.
var ErrStateSchema = errors.New("pinned flow table has another layout")

const bpffsMagic = 0xcafe4a11

// Pins is the bpffs directory of one data path. See the package's documentation
// for what is in it.
type Pins struct {
	Dir   string
	lock  *os.File
	fresh fresh
}

// OpenPins makes the directory where it is missing and locks it, so that there
// is one agent to a data path.
func OpenPins(dir string) (*Pins, error) {
	if err := onBPFFS(dir); err != nil {
		return nil, err
	}
	p := &Pins{Dir: dir}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		p.fresh.root = dir
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("datapath.bpffs %s: %w", dir, err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("datapath.bpffs %s: %w", dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		by := holder(f)
		f.Close()
		return nil, fmt.Errorf("datapath.bpffs %s is in use by another agent%s:"+
			" stop it, or give this one a directory of its own: %w", dir, by, err)
	}
	p.lock = f
	return p, nil
}

// holder says which process has the lock; empty where that can't be seen, as of a process in
// another PID namespace.
func holder(f *os.File) string {
	var st unix.Stat_t
	locks, err := os.ReadFile("/proc/locks")
	if err != nil || unix.Fstat(int(f.Fd()), &st) != nil {
		return ""
	}
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for line := range strings.Lines(string(locks)) {
		w := strings.Fields(line) // 1: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE START END
		if len(w) < 6 || w[1] != "FLOCK" || w[5] != file {
			continue
		}
		command, _ := os.ReadFile("/proc/" + w[4] + "/cmdline") // it may be gone by now
		return fmt.Sprintf(", process %s (%s)", w[4], strings.TrimSpace(strings.ReplaceAll(string(command), "\x00", " ")))
	}
	return ""
}

// onBPFFS looks at the nearest directory that exists, so that nothing is made on
// another filesystem.
func onBPFFS(dir string) error {
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		var st unix.Statfs_t
		switch err := unix.Statfs(at, &st); {
		case err == nil && st.Type == bpffsMagic:
			return nil
		case err == nil || at == "/":
			return fmt.Errorf("datapath.bpffs %s is not on a bpf filesystem: mount one with"+
				" `mount -t bpf bpf /sys/fs/bpf`, or name a directory on one"+
				" (`ip netns exec` hides it, `nsenter --net` does not)", dir)
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("datapath.bpffs %s: %w", dir, err)
		}
	}
}

// Close gives the lock back and leaves the pins.
func (p *Pins) Close() error { return p.lock.Close() }

// dirs lists the group's directories of whatever schema.
func (g group) dirs(pins string) ([]string, error) {
	return filepath.Glob(filepath.Join(pins, g.name+"-*"))
}

// open returns the group's maps: those pinned under its schema, or new ones,
// pinned in a directory that appears when it is complete.
func (g group) open(p *Pins, spec *ebpf.CollectionSpec) (maps map[string]*ebpf.Map, dir string, err error) {
	schema, err := g.schema(spec)
	if err != nil {
		return nil, "", err
	}
	dir = filepath.Join(p.Dir, g.name+"-"+schema)
	maps = make(map[string]*ebpf.Map)
	defer func() {
		if err != nil {
			closeMaps(maps)
		}
	}()
	if _, err := os.Stat(dir); err == nil {
		for _, name := range g.maps {
			m, err := ebpf.LoadPinnedMap(filepath.Join(dir, name), nil)
			if err != nil {
				return maps, dir, fmt.Errorf("map %s pinned in %s: %w", name, dir, err)
			}
			maps[name] = m
		}
		return maps, dir, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return maps, dir, err
	}
	return maps, dir, g.create(maps, dir, p, spec)
}

func (g group) create(maps map[string]*ebpf.Map, dir string, p *Pins, spec *ebpf.CollectionSpec) error {
	tmp := filepath.Join(p.Dir, "new-"+g.name)
	p.fresh.dirs = append(p.fresh.dirs, tmp, dir)
	if err := os.RemoveAll(tmp); err != nil { // a start that did not come to its end
		return err
	}
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return err
	}
	for _, name := range g.maps {
		m, err := ebpf.NewMap(spec.Maps[name])
		if err != nil {
			return fmt.Errorf("create map %s with %d entries: %w", name, spec.Maps[name].MaxEntries, err)
		}
		maps[name] = m
		if err := m.Pin(filepath.Join(tmp, name)); err != nil {
			return fmt.Errorf("pin map %s: %w", name, err)
		}
	}
	return os.Rename(tmp, dir)
}

func closeMaps(maps map[string]*ebpf.Map) {
	for _, m := range maps {
		m.Close()
	}
}

// checkState refuses to leave flows behind.
func checkState(pins string, spec *ebpf.CollectionSpec, discard bool) error {
	return state.check(pins, spec, discard)
}

func (g group) check(pins string, spec *ebpf.CollectionSpec, discard bool) error {
	schema, err := g.schema(spec)
	if err != nil {
		return err
	}
	dirs, err := g.dirs(pins)
	if err != nil {
		return err
	}
	want := filepath.Join(pins, g.name+"-"+schema)
	if slices.Contains(dirs, want) {
		return nil
	}
	if len(dirs) == 0 || discard {
		return nil
	}
	return fmt.Errorf("%w: %s has it, this program needs %s: drain the node and run `penstock cleanup`,"+
		" or set datapath.discardFlows: true to lose its flows", ErrStateSchema, dirs[0], filepath.Base(want))
}

// prune removes the groups' directories of other schemas, once no link needs them.
func prune(pins string, keep ...string) error {
	return pruneGroups([]group{tables, state}, pins, keep...)
}

func pruneGroups(groups []group, pins string, keep ...string) error {
	var errs []error
	for _, g := range groups {
		dirs, err := g.dirs(pins)
		errs = append(errs, err)
		for _, dir := range dirs {
			if !slices.Contains(keep, dir) {
				errs = append(errs, os.RemoveAll(dir))
			}
		}
	}
	return errors.Join(errs...)
}

func linkPin(pins, device string) string {
	return filepath.Join(pins, "links", strings.ReplaceAll(device, ".", ":"))
}

// OpenTables opens the pinned tables and flows for reading, for whoever looks
// while no agent runs. The caller closes the maps.
func OpenTables(pins string) (map[string]*ebpf.Map, error) {
	return openGroups(loadLb, []group{tables, state}, pins)
}

func openGroups(load func() (*ebpf.CollectionSpec, error), groups []group, pins string) (map[string]*ebpf.Map, error) {
	spec, err := load()
	if err != nil {
		return nil, err
	}
	maps := make(map[string]*ebpf.Map)
	for _, g := range groups {
		schema, err := g.schema(spec)
		if err != nil {
			return nil, err
		}
		dir := filepath.Join(pins, g.name+"-"+schema)
		if _, err := os.Stat(dir); err != nil {
			closeMaps(maps)
			if others, _ := g.dirs(pins); len(others) > 0 {
				return nil, fmt.Errorf("%s was written by another version, this one reads %s:"+
					" use the penstock binary of the agent", others[0], filepath.Base(dir))
			}
			return nil, fmt.Errorf("no data path is pinned in %s: %w", pins, err)
		}
		for _, name := range g.maps {
			// Shared memory needs a descriptor that could write, even for reading.
			opts := &ebpf.LoadPinOptions{ReadOnly: name != lbMapSlots && name != lbMapRegions && name != lbMapRanks}
			m, err := ebpf.LoadPinnedMap(filepath.Join(dir, name), opts)
			if err != nil {
				closeMaps(maps)
				return nil, fmt.Errorf("map %s pinned in %s: %w", name, dir, err)
			}
			maps[name] = m
		}
	}
	return maps, nil
}
