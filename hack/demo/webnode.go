package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
)

// webNode is an ingress node with its pod: nginx on addresses of the pod network.
type webNode struct {
	uplink
	Pod4, Pod6 string
	Dir        string
	Sites      []string
	InSlice    bool

	proc *fixture.Process
}

// newWebNode starts nginx on an ingress node. The router learns where its pods are, as from a CNI that
// speaks BGP.
func newWebNode(l *lab, u uplink, n int) *webNode {
	w := &webNode{
		uplink: u, Sites: sites, InSlice: true,
		Pod4: fmt.Sprintf("10.1.%d.80", n), Pod6: fmt.Sprintf("fd00:1:%d::80", n),
		Dir: filepath.Join(runDir, u.Name),
	}
	w.netns.AddAddr(l, "lo", w.Pod4+"/32")
	w.netns.AddAddr(l, "lo", w.Pod6+"/128")
	l.tor.AddRoute(l, fmt.Sprintf("10.1.%d.0/24", n), w.Addr4)
	l.tor.AddRoute(l, fmt.Sprintf("fd00:1:%d::/64", n), w.Addr6)
	for _, site := range sites {
		l.must(os.MkdirAll(filepath.Join(w.Dir, site, "files"), 0o755))
	}
	l.must(os.WriteFile(filepath.Join(w.Dir, "nginx.conf"), []byte(l.render("nginx.conf", w)), 0o644))
	w.start(l)
	return w
}

func (w *webNode) start(l *lab) {
	w.proc = w.netns.Start(l, "nginx", "-p", w.Dir, "-e", "stderr", "-c", filepath.Join(w.Dir, "nginx.conf"))
	l.wait(10*time.Second, "nginx on "+w.Name, func() error {
		select {
		case <-w.proc.Done():
			l.Fatalf("nginx on %s ended at its start: %s", w.Name, w.proc.Output())
		default:
		}
		conn, err := w.netns.DialContext(l.ctx, "tcp", net.JoinHostPort(w.Pod4, "8080"))
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// stop lets nginx finish its requests and ends it.
func (w *webNode) stop(l *lab) { w.proc.Stop(l, syscall.SIGQUIT) }

// addFile puts random bytes under /files/big of the shop and returns their SHA-256.
func (l *lab) addFile() string {
	sum := sha256.New()
	var to []io.Writer
	for _, w := range l.webs {
		f, err := os.Create(filepath.Join(w.Dir, "shop/files/big"))
		l.must(err)
		defer f.Close()
		to = append(to, f)
	}
	random, err := os.Open("/dev/urandom")
	l.must(err)
	defer random.Close()
	_, err = io.CopyN(io.MultiWriter(append(to, sum)...), random, bigFile)
	l.must(err)
	return hex.EncodeToString(sum.Sum(nil))
}

// uploaded finds a file that a client PUT, and returns who has it and its SHA-256.
func (l *lab) uploaded(name string) (server, sum string) {
	for _, w := range l.webs {
		f, err := os.Open(filepath.Join(w.Dir, "shop/files", name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		l.must(err)
		defer f.Close()
		h := sha256.New()
		_, err = io.Copy(h, f)
		l.must(err)
		return w.Name, hex.EncodeToString(h.Sum(nil))
	}
	l.Fatalf("no server has the uploaded file %s", name)
	return "", ""
}
