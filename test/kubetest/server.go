package kubetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
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
	args     []string
	cmd      *exec.Cmd
	exited   chan struct{}
}

// Start runs a server until the test ends. args are those of test/kube/server, and behind
// "--" those of kube-apiserver.
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	bin, err := Binaries()
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	s := &Server{
		Kubeconfig: filepath.Join(dir, "kubeconfig"), Log: filepath.Join(dir, "log"),
		bin: bin, dir: dir, args: append([]string{"-dir", dir, "-until-eof"}, args...),
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
	cmd, exited := exec.Command(filepath.Join(s.bin, "server"), s.args...), make(chan struct{})
	cmd.Stdout, cmd.Stderr = log, log
	// It closes with this process, which ends the server.
	if _, err := cmd.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
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
