package cluster

import (
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/penstock-lb/penstock/test/fixture"
)

// Init is PID 1 of a node. Its methods are called over [fixture.Self] from the test.
type Init struct {
	mu    sync.Mutex
	ended map[int]int // exit codes by PID, -1 for the end by a signal
}

// newInit reaps what ends, orphans of the shims included. Nothing else here waits for a child.
func newInit() *Init {
	i := &Init{ended: map[int]int{}}
	if os.Getpid() != 1 {
		return i
	}
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	go func() {
		for range children {
			i.reap()
		}
	}()
	return i
}

func (i *Init) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if pid <= 0 || err != nil {
			return
		}
		i.mu.Lock()
		i.ended[pid] = status.ExitStatus()
		i.mu.Unlock()
	}
}

// Machine is what a node boots as.
type Machine struct {
	Name string
	Dir  string // its /var/lib and what else is its own
}

// Boot makes the node's view of the file system. The process is in namespaces of its own already.
func (i *Init) Boot(m Machine, _ *fixture.Nothing) error {
	if err := syscall.Sethostname([]byte(m.Name)); err != nil {
		return fmt.Errorf("set host name %s: %w", m.Name, err)
	}
	dir := func(name string) string { return filepath.Join(m.Dir, name) }
	for _, d := range []string{"sys", "lib/kubelet", "lib/cni", "log"} {
		if err := os.MkdirAll(dir(d), 0o755); err != nil {
			return err
		}
	}
	// The kubelet insists on both and would set them for the whole machine.
	for name, value := range map[string]string{"panic": "10", "panic_on_oops": "1"} {
		if err := os.WriteFile(dir(name), []byte(value), 0o644); err != nil {
			return err
		}
	}
	for _, s := range []mount{
		{target: "/", flags: unix.MS_REC | unix.MS_PRIVATE},
		{source: "proc", target: "/proc", kind: "proc"},
		// Of this network namespace, with the machine's cgroups.
		{source: "sysfs", target: dir("sys"), kind: "sysfs"},
		{source: "/sys/fs/cgroup", target: dir("sys/fs/cgroup"), flags: unix.MS_BIND | unix.MS_REC},
		{source: "bpf", target: dir("sys/fs/bpf"), kind: "bpf"},
		{source: dir("sys"), target: "/sys", flags: unix.MS_MOVE},
		{source: "tmpfs", target: "/run", kind: "tmpfs", data: "mode=755"},
		{source: dir("lib"), target: "/var/lib", flags: unix.MS_BIND},
		{source: dir("log"), target: "/var/log", flags: unix.MS_BIND},
		{source: dir("panic"), target: "/proc/sys/kernel/panic", flags: unix.MS_BIND},
		{source: dir("panic_on_oops"), target: "/proc/sys/kernel/panic_on_oops", flags: unix.MS_BIND},
		// Of volumes the kubelet hands mounts on to containers.
		{target: "/", flags: unix.MS_REC | unix.MS_SHARED},
	} {
		if err := unix.Mount(s.source, s.target, s.kind, s.flags, s.data); err != nil {
			return fmt.Errorf("mount %q on %s of node %s: %w", s.source, s.target, m.Name, err)
		}
	}
	return nil
}

type mount struct {
	source, target, kind string
	flags                uintptr
	data                 string
}

// Program is something that a node is to run.
type Program struct {
	Argv []string
	Log  string // a file that is appended to
}

// Run starts a program and replies with its PID there.
func (i *Init) Run(p Program, pid *int) error {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	*pid, err = syscall.ForkExec(p.Argv[0], p.Argv, &syscall.ProcAttr{
		Env:   []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"},
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Argv[0], err)
	}
	return nil
}

// Signal is a signal for a process that [Init.Run] has started.
type Signal struct {
	PID    int
	Signal syscall.Signal
}

// Send sends a signal.
func (i *Init) Send(s Signal, _ *fixture.Nothing) error { return syscall.Kill(s.PID, s.Signal) }

// Ended replies with the exit codes of what has ended so far.
func (i *Init) Ended(_ fixture.Nothing, reply *map[int]int) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	*reply = maps.Clone(i.ended)
	return nil
}
