package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
)

// Host is a machine with an agent, of either role.
type Host struct {
	*fixture.Netns
	Name  string
	Dir   string // configuration, manifests and socket
	BPFFS string // the mount
	Agent *fixture.Process
	Wrap  []string // a command that runs the agent, such as setpriv

	binary string
}

// newHost makes the machine, without links, and the place for its agent's files.
func newHost(tb fixture.TB, name, binary string) Host {
	tb.Helper()
	h := Host{Name: name, binary: binary, Dir: tb.TempDir(), BPFFS: fixture.MountBPFFS(tb), Netns: fixture.NewNetns(tb, name)}
	h.Forward(tb)
	if err := os.MkdirAll(h.Manifests(), 0o755); err != nil {
		tb.Fatalf("manifests of %s: %v", name, err)
	}
	return h
}

// configure writes the agent's configuration.
func (h *Host) configure(tb fixture.TB, text string) {
	tb.Helper()
	if err := os.WriteFile(h.Config(), []byte(text), 0o600); err != nil {
		tb.Fatalf("configuration of %s: %v", h.Name, err)
	}
}

// Config is the path of the agent's configuration.
func (h *Host) Config() string { return filepath.Join(h.Dir, "penstock.yaml") }

// Manifests is the agent's source directory.
func (h *Host) Manifests() string { return filepath.Join(h.Dir, "manifests") }

// history is where the agent keeps what the API does not say.
func (h *Host) history() string { return filepath.Join(h.Dir, "history.json") }

// Copy is where the agent keeps a copy of what the API server has.
func (h *Host) Copy() string { return filepath.Join(h.Dir, "objects.json") }

// Socket is the path of the agent's API.
func (h *Host) Socket() string { return filepath.Join(h.Dir, "agent.sock") }

// Pins is the agent's bpffs directory.
func (h *Host) Pins() string { return filepath.Join(h.BPFFS, "penstock") }

// StartAgent starts the agent; it may not be ready yet.
func (h *Host) StartAgent(tb fixture.TB, args ...string) {
	tb.Helper()
	h.Agent = h.Start(tb, slices.Concat(h.Wrap, []string{h.binary, "agent", "--config", h.Config()}, args)...)
}

// KillAgent ends the agent without a word.
func (h *Host) KillAgent(tb fixture.TB) {
	tb.Helper()
	h.Agent.Stop(tb, syscall.SIGKILL)
}

// WaitAgent waits until the agent answers on its socket.
func (h *Host) WaitAgent(tb fixture.TB) {
	tb.Helper()
	fixture.Wait(tb, 30*time.Second, "the agent of "+h.Name, func() error {
		_, err := h.Penstock("verdicts", "-o", "json")
		return err
	})
}

// Penstock runs the command line against this machine's agent and returns what it
// prints on stdout.
func (h *Host) Penstock(args ...string) (string, error) {
	return h.Output(append([]string{h.binary, "--socket", h.Socket(), "--bpffs", h.Pins()}, args...)...)
}

// Cleanup has the node left by Penstock, whose agent does not run any more.
func (h *Host) Cleanup() (string, error) {
	return h.Output(slices.Concat(h.Wrap, []string{h.binary, "--config", h.Config(), "cleanup"})...)
}

// Write puts a manifest into the agent's source in one step.
func (h *Host) Write(tb fixture.TB, name, text string) {
	tb.Helper()
	if err := h.Put(name, text); err != nil {
		tb.Fatalf("manifest %s of %s: %v", name, h.Name, err)
	}
}

// Put is Write that returns its error.
func (h *Host) Put(name, text string) error {
	tmp := filepath.Join(h.Dir, name+".tmp")
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(h.Manifests(), name))
}

// Build makes the binary of this tree, or takes the one that PENSTOCK names.
func Build(tb fixture.TB) string {
	tb.Helper()
	if b := os.Getenv(binaryVariable); b != "" {
		return b
	}
	path := filepath.Join(tb.TempDir(), "penstock")
	if err := build(path); err != nil {
		tb.Fatalf("%v", err)
	}
	return path
}

const binaryVariable = "PENSTOCK"

// BuildOnce makes the binary for all tests that run runs, as testing.M's Run does, and gives
// the code to end with.
func BuildOnce(run func() int) int {
	if os.Getenv(binaryVariable) != "" {
		return run()
	}
	dir, err := os.MkdirTemp("", "penstock-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = build(filepath.Join(dir, "penstock"))
	}
	if err == nil {
		err = os.Setenv(binaryVariable, filepath.Join(dir, "penstock"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return run()
}

func build(path string) error {
	out, err := exec.Command("go", "build", "-o", path, "github.com/penstock-lb/penstock/cmd/penstock").CombinedOutput()
	if err != nil {
		return fmt.Errorf("build penstock: %w\n%s", err, out)
	}
	return nil
}
