// Command demo builds a small data centre out of network namespaces and shows Penstock at work in it:
//
//	client ── router (FRR, ECMP) ─┬─ lb1, lb2, lb3       penstock agent, XDP, BGP
//	                              ├─ ingress1 … ingress3  penstock agent of role backend, nginx in pods
//	                              └─ node1                nginx, no agent
//
// `demo run` tells what it does, checks each step, removes everything and exits with 0 only if all held.
// `demo up` leaves the network running, `demo down` removes it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/penstock-lb/penstock/test/fixture"
)

// Set once, from the flag -name, so that a test can have a network of its own.
var (
	prefix string // of namespaces and of directories for short-lived files
	runDir string // what lasts as long as the network: configuration, manifests, sockets
	upMark string // made by up: the network is to stay
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	binary := flags.String("penstock", "bin/penstock", "the binary to show")
	name := flags.String("name", "penstock-demo", "what namespaces and directories are called")
	if err := flags.Parse(args); err != nil {
		return err
	}
	prefix, runDir = *name+"-", "/run/"+*name
	upMark = filepath.Join(runDir, "left-up")
	if os.Geteuid() != 0 {
		return errors.New("needs root, for network namespaces and XDP: run it with sudo")
	}
	alone, err := net.Listen("unix", "@"+*name) // vanishes with its process
	if err != nil {
		return errors.New("another demo is running; wait for its end")
	}
	defer alone.Close()

	say := newPrinter(stdout)
	command := flags.Arg(0)
	if command == "down" {
		return down(say)
	}
	path, err := filepath.Abs(*binary)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("binary to show: %w: run make build", err)
	}
	if _, err := os.Stat(upMark); err == nil {
		return errors.New("the demo's network is up already: make demo-down removes it")
	}
	if err := remove(); err != nil { // what a killed run left
		return err
	}
	switch command {
	case "run":
		return show(ctx, say, path)
	case "up":
		return up(ctx, say, path)
	}
	return fmt.Errorf("usage: demo [-penstock FILE] run|up|down")
}

// show runs every step and cleans up, whatever comes.
func show(ctx context.Context, say *printer, binary string) error {
	s := newStage(ctx, say)
	err := s.perform(func() { steps(s, binary) })
	s.clean()
	if err == nil {
		err = leftovers()
	}
	if err != nil {
		return err
	}
	say.end()
	return nil
}

// up builds the network with everything in it and leaves it.
func up(ctx context.Context, say *printer, binary string) error {
	s := newStage(ctx, say)
	err := s.perform(func() {
		l := buildSite(s, binary)
		l.startAgents()
		l.awaitPaths(len(l.up))
		l.awaitPods()
		if err := os.WriteFile(upMark, nil, 0o600); err != nil {
			s.Fatalf("%v", err)
		}
		l.cheatSheet(binary)
	})
	if err != nil {
		s.clean()
	}
	return err
}

func down(say *printer) error {
	_, err := os.Stat(runDir)
	if errors.Is(err, fs.ErrNotExist) {
		say.line("There is no demo network.")
		return remove()
	}
	if err := remove(); err != nil {
		return err
	}
	say.line("The demo network is gone.")
	return leftovers()
}

// remove takes away everything that any run made.
func remove() error {
	return errors.Join(fixture.Remove(prefix), os.RemoveAll(runDir))
}

// leftovers is an error that names what is still there.
func leftovers() error {
	var found []string
	for _, pattern := range []string{"/run/netns/" + prefix + "*", filepath.Join(os.TempDir(), prefix+"*"), runDir} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		found = append(found, paths...)
	}
	if len(found) > 0 {
		return fmt.Errorf("left behind: %v", found)
	}
	return nil
}
