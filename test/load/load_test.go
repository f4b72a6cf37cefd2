package load

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// behind is a site as a proxy of this name shows it, whose misdeed may take over an exchange.
func behind(t *testing.T, proxy string, misdeed func(n int64, conn net.Conn) bool) string {
	site := Site("pod-1")
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		r.Header.Set("X-Forwarded-Server", proxy)
		r.Header.Set("X-Real-Ip", host)
		if i := n.Add(1); misdeed != nil {
			h, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			if misdeed(i, h) {
				h.Close()
				return
			}
			rec := httptest.NewRecorder()
			site.ServeHTTP(rec, r)
			rec.Result().Write(h)
			h.Close()
			return
		}
		site.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

func run(t *testing.T, opts Options, until func(Report) bool) Report {
	t.Helper()
	opts.Every, opts.Patience, opts.Hosts = 10*time.Millisecond, 2*time.Second, []string{"a.test", "b.test"}
	l := &Load{}
	l.Start(opts)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !until(l.Report()) {
		if ctx.Err() != nil {
			l.Stop()
			t.Fatalf("not so after 20 s: %+v", l.Report())
		}
		sleep(ctx, 10*time.Millisecond)
	}
	return l.Stop()
}

func TestNothingFails(t *testing.T) {
	r := run(t, Options{Targets: []string{behind(t, "p1", nil)}, Held: 5, Fresh: 50}, func(r Report) bool {
		return r.Held == 5 && r.Fresh >= 20 && r.Requests >= 100
	})
	if len(r.Failed)+len(r.Ends)+r.WrongClient != 0 || r.Longest == 0 {
		t.Errorf("%+v", r)
	}
}

// A server that closes after each answer ends connections cleanly; it needs an excuse all the same.
func TestEnds(t *testing.T) {
	target := behind(t, "p1", func(int64, net.Conn) bool { return false })
	r := run(t, Options{Targets: []string{target}, Held: 1}, func(r Report) bool { return len(r.Ends) >= 3 })
	for _, e := range r.Ends {
		if !e.Clean || e.Proxy != "p1" {
			t.Errorf("%+v", e)
		}
	}
	if n := len(r.Broken(func(e End) bool { return e.Proxy == "p1" })); n != 0 {
		t.Errorf("%d broken that are excused", n)
	}
	if n := len(r.Broken(func(End) bool { return false })); n != len(r.Ends) {
		t.Errorf("%d broken of %d that are not excused", n, len(r.Ends))
	}
}

func TestMisdeeds(t *testing.T) {
	for _, tt := range []struct {
		name    string
		misdeed func(net.Conn)
		why     string
	}{
		{"reset", func(c net.Conn) { c.(*net.TCPConn).SetLinger(0) }, "reset"},
		{"cut off", func(c net.Conn) { c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")) }, "EOF"},
		{"refused", func(c net.Conn) {
			c.Write([]byte("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno"))
		}, "status 502"},
		{"silent", func(net.Conn) { time.Sleep(3 * time.Second) }, "no answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			target := behind(t, "p1", func(_ int64, c net.Conn) bool { tt.misdeed(c); return true })
			r := run(t, Options{Targets: []string{target}, Held: 1}, func(r Report) bool { return len(r.Failed) > 0 })
			if f := r.Failed[0]; !strings.Contains(f.Why, tt.why) || f.Target != target {
				t.Errorf("%+v", f)
			}
		})
	}
}

// Another proxy, another client's address: neither may pass for the connection's own.
func TestTakenForAnother(t *testing.T) {
	site := Site("pod-1")
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("X-Real-Ip", "192.0.2.1")
		r.Header.Set("X-Forwarded-Server", string(rune('a'+n.Add(1)-1)))
		site.ServeHTTP(w, r)
	}))
	defer srv.Close()
	r := run(t, Options{Targets: []string{srv.Listener.Addr().String()}, Held: 1}, func(r Report) bool { return len(r.Ends) > 0 })
	if e := r.Ends[0]; e.Clean || !strings.Contains(e.Why, "was of a, and b answered") {
		t.Errorf("%+v", e)
	}
	if r.WrongClient == 0 {
		t.Error("the proxy saw 192.0.2.1, and nobody minds")
	}
}
