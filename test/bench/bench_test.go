package bench

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/penstock-lb/penstock/test/fixture"
)

const (
	rounds = 21
	many   = 1 << 20
)

// TestMain begins anew without the signals that the Go runtime sends itself, which
// would interrupt runs of the program.
func TestMain(m *testing.M) {
	const quiet = "asyncpreemptoff=1"
	if value := os.Getenv("GODEBUG"); !strings.Contains(value, quiet) {
		os.Setenv("GODEBUG", strings.TrimPrefix(value+","+quiet, ","))
		if path, err := os.Executable(); err == nil {
			syscall.Exec(path, os.Args, os.Environ())
		}
	}
	os.Exit(m.Run())
}

// BenchmarkPrograms prints the table. It takes as long as it takes, whatever
// -benchtime says.
func BenchmarkPrograms(b *testing.B) {
	ns, pins := newNetns(b), fixture.MountBPFFS(b)
	err := ns.Do(func() error {
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		unpin, err := pin()
		if err != nil {
			return err
		}
		defer unpin()
		r, err := newRig(pins, many)
		if err != nil {
			return err
		}
		defer r.Close()
		list, err := r.scenarios(many, 1<<18, 1<<17)
		if err != nil {
			return err
		}
		costs, err := r.rounds(list, rounds)
		if err != nil {
			return err
		}
		return table(os.Stdout, list, costs)
	})
	if err != nil {
		b.Fatal(err)
	}
}

// pin keeps the thread on its CPU.
func pin() (unpin func(), err error) {
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return nil, err
	}
	for cpu := range len(all) * 64 {
		if all.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	return func() { unix.SchedSetaffinity(0, &all) }, unix.SchedSetaffinity(0, &one)
}

// rounds measures every scenario in each round.
func (r *rig) rounds(list []scenario, n int) (map[string][]float64, error) {
	costs := map[string][]float64{}
	for range n {
		for _, i := range rand.Perm(len(list)) {
			ns, err := r.measure(list[i])
			if err != nil {
				return nil, err
			}
			costs[list[i].name] = append(costs[list[i].name], ns)
		}
	}
	return costs, nil
}

// table prints what each scenario costs more than the baseline, and its ratio to
// its floor by the minima.
func table(w io.Writer, list []scenario, costs map[string][]float64) error {
	for _, c := range costs {
		slices.Sort(c)
	}
	median := func(name string) float64 { return costs[name][len(costs[name])/2] }
	net := func(name string) float64 { return costs[name][0] - costs[baseline][0] }

	const row = "%-52s %8s %8s %8s\n"
	number := func(ns float64) string { return fmt.Sprintf("%.1f", ns) }
	var errs []error
	line := func(cells ...any) {
		_, err := fmt.Fprintf(w, row, cells...)
		errs = append(errs, err)
	}
	line("ns of CPU time per packet, net of the first", "min", "median", "ratio")
	for _, s := range list {
		ratio := ""
		if s.name == baseline {
			line(s.name+", gross", number(costs[s.name][0]), number(median(s.name)), "")
			continue
		}
		if s.floor != "" {
			ratio = fmt.Sprintf("%.2f", net(s.name)/net(s.floor))
		}
		line(s.name, number(net(s.name)), number(median(s.name)-median(baseline)), ratio)
	}
	line(fmt.Sprintf("%d rounds, each in an order of its own", len(costs[baseline])), "", "", "")
	return errors.Join(errs...)
}

// Each scenario is what it says, in small numbers.
func TestScenarios(t *testing.T) {
	ns, pins := newNetns(t), fixture.MountBPFFS(t)
	err := ns.Do(func() error {
		const few = 1 << 10
		r, err := newRig(pins, few)
		if err != nil {
			return err
		}
		defer r.Close()
		list, err := r.scenarios(few, 256, 256)
		if err != nil {
			return err
		}
		costs, err := r.rounds(list, 2)
		if err != nil {
			return err
		}
		return table(io.Discard, list, costs)
	})
	if err != nil {
		t.Fatal(err)
	}
}
