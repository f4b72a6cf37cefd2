package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	httpPort = ":8080"
	linePort = ":9000"
	// accepting is for how long a server goes on as before after it was asked to end: the
	// word must get round first.
	accepting = 3 * time.Second
	tick      = 500 * time.Millisecond
)

// echo answers each request with a line of who answers and who is seen to ask. On the line port it
// answers each line with the pod's name, and never ends a connection by itself: only the
// end of the pod's grace does.
func echo() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	pod, err := os.Hostname()
	if err != nil {
		return err
	}
	var ending atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, seen(pod, r)) })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if ending.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) { stream(w, r, pod) })
	lines, err := net.Listen("tcp", linePort)
	if err != nil {
		return err
	}
	go answerLines(lines, pod)
	server := &http.Server{Addr: httpPort, Handler: mux}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	ending.Store(true)
	time.Sleep(accepting)
	if err := server.Shutdown(context.Background()); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	select {} // until SIGKILL, for the connections of the line port
}

func seen(pod string, r *http.Request) string {
	client, _, _ := net.SplitHostPort(r.RemoteAddr)
	return fmt.Sprintf("pod=%s peer=%s for=%s by=%s", pod, client, r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Server"))
}

// stream sends a line every tick for as long as the client wants it.
func stream(w http.ResponseWriter, r *http.Request, pod string) {
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	for {
		if _, err := fmt.Fprintln(w, seen(pod, r)); err != nil {
			return
		}
		if err := out.Flush(); err != nil {
			return
		}
		select {
		case <-time.After(tick):
		case <-r.Context().Done():
			return
		}
	}
}

func answerLines(l net.Listener, pod string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			client, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
			for in := bufio.NewScanner(conn); in.Scan(); {
				if _, err := fmt.Fprintf(conn, "pod=%s peer=%s line=%s\n", pod, client, in.Text()); err != nil {
					return
				}
			}
		}()
	}
}
