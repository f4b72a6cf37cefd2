package churn

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// patience is how long an exchange may take before its flow counts as broken. TCP
// has doubled its timeout to 25.6 s by then.
const patience = 30 * time.Second

// holder opens flows and keeps their number: whatever ends is opened anew.
type holder struct {
	ledger
	vips     []netip.AddrPort
	clients  map[bool]netip.Prefix // by Is4
	interval time.Duration
	next     atomic.Uint64
	dialing  chan struct{}
	gone     sync.Map // names of pods that were killed
}

// hold runs until ctx ends. It is told what to do on a Unix socket.
func hold(ctx context.Context, socket string, interval time.Duration, vips []netip.AddrPort, clients []netip.Prefix) error {
	h := &holder{vips: vips, clients: map[bool]netip.Prefix{}, interval: interval, dialing: make(chan struct{}, 64)}
	h.flows = map[uint64]time.Time{}
	for _, p := range clients {
		h.clients[p.Addr().Is4()] = p
	}
	if err := os.RemoveAll(socket); err != nil {
		return err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h.handler(ctx)}
	go func() {
		<-ctx.Done()
		srv.Close()
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// order is how many flows to add.
type order struct{ TCP, UDP int }

func (h *holder) handler(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /open", func(w http.ResponseWriter, r *http.Request) {
		var o order
		if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		h.with(func(r *Report) { r.Wanted += o.TCP + o.UDP })
		for range o.TCP {
			go h.keep(ctx, h.stream)
		}
		for range o.UDP {
			go h.keep(ctx, h.datagrams)
		}
	})
	mux.HandleFunc("POST /gone/{pod}", func(_ http.ResponseWriter, r *http.Request) { h.gone.Store(r.PathValue("pod"), true) })
	mux.HandleFunc("POST /begin", func(http.ResponseWriter, *http.Request) { h.begin() })
	mux.HandleFunc("GET /report", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(h.read())
	})
	return mux
}

// errClosed is the end of a flow that its pod asked for.
var errClosed = errors.New("closed on the pod's wish")

// keep holds one flow after the other.
func (h *holder) keep(ctx context.Context, run func(context.Context, *flow) error) {
	for ctx.Err() == nil {
		f := &flow{id: h.next.Add(1), vip: h.vips[0]}
		f.vip = h.vips[f.id%uint64(len(h.vips))]
		f.from = pick(h.clients[f.vip.Addr().Is4()])
		err := run(ctx, f)
		h.ended(f.id)
		if ctx.Err() != nil {
			return
		}
		h.account(f, err)
		// What failed is not made again at once: a pod that refuses would be flooded.
		if !errors.Is(err, errClosed) {
			time.Sleep(h.interval/2 + rand.N(h.interval))
		}
	}
}

func (h *holder) account(f *flow, err error) {
	h.with(func(r *Report) {
		switch {
		case errors.Is(err, errClosed):
			r.Closed++
		case !f.open:
			r.OpenFailed++
			r.OpenError = err.Error()
		default:
			r.Breaks = append(r.Breaks, Break{
				Flow: f.id, Proto: f.proto, Client: f.local.String(), Pod: f.pod, At: time.Now(),
				Age: time.Since(f.born).Round(time.Millisecond), Why: err.Error(), Moved: f.moved,
			})
		}
	})
}

// pick gives a random address of the network, but its first and last.
func pick(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	b[len(b)-1] = byte(1 + rand.N(254))
	a, _ := netip.AddrFromSlice(b)
	return a
}
