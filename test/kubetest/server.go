package kubetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/penstock-lb/penstock/test/fixture"
)

// Controllers is a value for the flag -controllers: what makes slices of Pods, ServiceAccounts
// and their tokens, and what cleans up.
const Controllers = "endpointslice-controller,serviceaccount-controller,namespace-controller," +
	"garbage-collector-controller,root-ca-certificate-publisher-controller"

// Server is an API server on 127.0.0.1.
type Server struct {
	Config     *rest.Config         // the administrator's
	Client     kubernetes.Interface // the administrator's
	Kubeconfig string               // the administrator's, a path
	Log        string               // the server's, a path

	bin, dir string
	opts     Options
	cmd      *exec.Cmd
	exited   chan struct{}
}

// Options say how a server runs.
type Options struct {
	Netns *fixture.Netns // on whose 127.0.0.1; nil: on the test's own
	Users []User         // beside the administrator
	Args  []string       // those of test/kube/server, and behind "--" those of kube-apiserver
}

// User is someone the API server knows by a token.
type User struct {
	Name   string
	Groups []string
	token  string
}

// Start runs a server until the test ends. args are as in [Options].
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	return StartWith(tb, Options{Args: args})
}

// StartWith is [Start] with more to say.
func StartWith(tb testing.TB, opts Options) *Server {
	tb.Helper()
	bin, err := Binaries()
	if err != nil {
		tb.Fatal(err)
	}
	dir := filepath.Join(fixture.Scratch(tb, "apiserver"), "state") // for its eyes only
	if err := os.Mkdir(dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	s := &Server{
		Kubeconfig: filepath.Join(dir, "kubeconfig"), Log: filepath.Join(dir, "log"), bin: bin, dir: dir, opts: opts,
	}
	s.opts.Users = slices.Clone(opts.Users)
	if err := s.writeTokens(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		s.Stop()
		if b, err := os.ReadFile(s.Log); tb.Failed() && err == nil {
			tb.Logf("the API server's log ends:\n%s", b[max(0, len(b)-4000):])
		}
	})
	s.Restart(tb)
	if s.Config, err = clientcmd.BuildConfigFromFlags("", s.Kubeconfig); err != nil {
		tb.Fatal(err)
	}
	s.Config.QPS = -1
	if opts.Netns != nil {
		s.Config.Dial = opts.Netns.DialContext
	}
	if s.Client, err = kubernetes.NewForConfig(s.Config); err != nil {
		tb.Fatal(err)
	}
	return s
}

// Stop kills the server, as a power cut does. Its data stays.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.exited
	s.cmd = nil
}

// Restart starts the server, after a Stop with the same data, credentials and port, and
// waits until it answers.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	s.Stop()
	// It was the former server's; the next one writes it when it is ready.
	if err := os.RemoveAll(s.Kubeconfig); err != nil {
		tb.Fatal(err)
	}
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	defer log.Close()
	args := append([]string{"-dir", s.dir, "-until-eof"}, s.opts.Args...)
	cmd, exited := exec.Command(filepath.Join(s.bin, "server"), args...), make(chan struct{})
	cmd.Stdout, cmd.Stderr = log, log
	// It closes with this process, which ends the server.
	if _, err := cmd.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	if err := s.in(cmd.Start); err != nil {
		tb.Fatal(err)
	}
	go func() { _ = cmd.Wait(); close(exited) }()
	s.cmd, s.exited = cmd, exited
	s.waitReady(tb)
}

func (s *Server) waitReady(tb testing.TB) {
	tb.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		if _, err := os.Stat(s.Kubeconfig); err == nil {
			return
		}
		select {
		case <-s.exited:
			tb.Fatal("the API server ended at its start")
		case <-deadline:
			tb.Fatal("the API server is not ready after two minutes")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// in runs f where the server is.
func (s *Server) in(f func() error) error {
	if s.opts.Netns == nil {
		return f()
	}
	return s.opts.Netns.Do(f)
}
