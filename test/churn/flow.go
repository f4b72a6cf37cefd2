package churn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// flow is one flow of the holder.
type flow struct {
	id    uint64
	proto string
	vip   netip.AddrPort
	from  netip.Addr
	local netip.AddrPort // its end, as the client's kernel has it
	open  bool           // the handshake was complete; UDP: it was answered
	born  time.Time
	pod   string
	moved string // a second pod that answered
	seq   uint64
	alien bool // the server saw another client, which is counted once
}

// stream holds a TCP flow until its end.
func (h *holder) stream(ctx context.Context, f *flow) error {
	f.proto = "tcp"
	h.dialing <- struct{}{}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: f.from.AsSlice()}, Timeout: patience, KeepAlive: -1}
	conn, err := d.DialContext(ctx, "tcp", f.vip.String())
	<-h.dialing
	if err != nil {
		return err
	}
	defer conn.Close()
	f.open, f.born = true, time.Now()
	f.local = conn.LocalAddr().(*net.TCPAddr).AddrPort()
	h.with(func(r *Report) { r.Opened++ })
	var out [requestSize]byte
	var in [replySize]byte
	for {
		f.seq++
		request{f.id, f.seq}.put(&out)
		start := time.Now()
		if err := conn.SetDeadline(start.Add(patience)); err != nil {
			return err
		}
		if _, err := conn.Write(out[:]); err != nil {
			return brief(err)
		}
		if _, err := io.ReadFull(conn, in[:]); err != nil {
			return brief(err)
		}
		ending, err := h.judge(f, &in)
		if err != nil {
			return err
		}
		h.exchanged(f, start)
		if ending {
			return errClosed
		}
		if err := h.pause(ctx); err != nil {
			return err
		}
	}
}

// datagrams holds a UDP flow until its end. What gets lost is sent again.
func (h *holder) datagrams(ctx context.Context, f *flow) error {
	f.proto = "udp"
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: f.from.AsSlice()}}
	conn, err := d.DialContext(ctx, "udp", f.vip.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	f.born, f.local = time.Now(), conn.LocalAddr().(*net.UDPAddr).AddrPort()
	for {
		f.seq++
		start := time.Now()
		in, err := h.ask(conn, f, start.Add(patience))
		if err != nil {
			return err
		}
		if !f.open {
			f.open = true
			h.with(func(r *Report) { r.Opened++ })
		}
		ending, err := h.judge(f, in)
		if err != nil {
			return err
		}
		h.exchanged(f, start)
		if ending {
			return errClosed
		}
		if err := h.pause(ctx); err != nil {
			return err
		}
	}
}

// ask sends a datagram until it is answered, or its pod is known to be gone.
func (h *holder) ask(conn net.Conn, f *flow, deadline time.Time) (*[replySize]byte, error) {
	var out [requestSize]byte
	in := new([replySize]byte)
	request{f.id, f.seq}.put(&out)
	for wait := 250 * time.Millisecond; time.Now().Before(deadline); wait = min(2*wait, 2*time.Second) {
		if _, gone := h.gone.Load(f.pod); gone {
			break
		}
		if _, err := conn.Write(out[:]); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, brief(err)
		}
		retry := time.Now().Add(wait)
		if err := conn.SetReadDeadline(retry); err != nil {
			return nil, err
		}
		for time.Now().Before(retry) {
			n, err := conn.Read(in[:])
			if err != nil {
				if !errors.Is(err, os.ErrDeadlineExceeded) { // an ICMP error: not to spin on
					time.Sleep(wait / 4)
					continue
				}
				break
			}
			// A repetition can be answered late, when the next question is out.
			if got, err := parseReply(in); n == replySize && (err != nil || got.seq == f.seq) {
				return in, nil
			}
		}
	}
	return nil, errors.New("no answer")
}

// judge checks a reply against all that is known of the flow.
func (h *holder) judge(f *flow, b *[replySize]byte) (ending bool, err error) {
	got, err := parseReply(b)
	if err != nil {
		return false, err
	}
	if got.request != (request{f.id, f.seq}) {
		return false, fmt.Errorf("flow %d asked %d and got the answer to %d of flow %d", f.id, f.seq, got.seq, got.flow)
	}
	if f.pod == "" {
		f.pod = got.pod
	}
	if got.pod != f.pod {
		f.moved = got.pod
		return false, errors.New("another pod answered")
	}
	if got.first != 1 || got.count != f.seq {
		return false, errors.New("the pod has forgotten the flow")
	}
	if got.client != f.local && !f.alien {
		f.alien = true
		h.with(func(r *Report) { r.WrongClient++ })
	}
	return got.ending, nil
}

// pause waits for the flow's next turn. Turns drift apart, as clients' do.
func (h *holder) pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(h.interval*3/4 + rand.N(h.interval/2)):
		return nil
	}
}

// brief leaves out the addresses, so that equal causes read alike.
func brief(err error) error {
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return errno
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("no answer")
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("closed by the server")
	}
	return err
}
