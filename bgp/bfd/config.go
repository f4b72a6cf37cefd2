package bfd

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Session is a path to watch: a peer and how fast. The zero value of a field means its default.
type Session struct {
	// Name is the session's name in logs, errors and states; unique.
	Name string
	// Peer is the router's address. A link-local one has its interface as zone, or in Interface.
	Peer netip.Addr
	// Local is our end of the session; zero, the route to the peer chooses it.
	Local netip.Addr
	// Interface is the one that packets of a single-hop session leave and must come by; empty for any.
	Interface string
	// Multihop is a path over routers (RFC 5883), on another port.
	Multihop bool
	// MinTTL is the least TTL or hop limit of a packet that a multihop session accepts, which is 255
	// less the routers on the way. A single-hop session always wants 255.
	MinTTL uint8
	// MinTx is how often we want to send and MinRx how often we can receive, 10 ms to 60 s in whole
	// microseconds, 300 ms by default. The slower side decides, for each direction.
	MinTx, MinRx time.Duration
	// Multiplier is how many packets in a row the peer must miss to call us dead, 3 by default.
	Multiplier uint8
	// AdminDown keeps the session out of service: the peer is told that it is no failure.
	AdminDown bool
}

const (
	defaultInterval   = 300 * time.Millisecond
	minInterval       = 10 * time.Millisecond
	maxInterval       = 60 * time.Second
	defaultMultiplier = 3
	maxInterfaceName  = 15 // IFNAMSIZ less the final zero
)

// SessionError is a session that [Server.Sync] could not carry out.
type SessionError struct {
	Name string
	Err  error
}

func (e *SessionError) Error() string { return fmt.Sprintf("BFD session %q: %v", e.Name, e.Err) }

func (e *SessionError) Unwrap() error { return e.Err }

// Check returns all that Sync would refuse about the session alone, as a *SessionError.
func (s Session) Check() error {
	_, err := s.normal()
	return err
}

// normal returns the session with its defaults filled in, or all that is wrong with it. A link-local
// peer has both its zone and Interface afterwards.
func (s Session) normal() (Session, error) {
	s.Peer, s.Local = s.Peer.Unmap(), s.Local.Unmap()
	if s.Interface == "" {
		s.Interface = s.Peer.Zone()
	}
	if s.Peer.Is6() && s.Peer.IsLinkLocalUnicast() {
		if s.Peer.Zone() == "" {
			s.Peer = s.Peer.WithZone(s.Interface)
		}
		if s.Local.IsLinkLocalUnicast() && s.Local.Zone() == "" {
			s.Local = s.Local.WithZone(s.Interface)
		}
	}
	if s.MinTx == 0 {
		s.MinTx = defaultInterval
	}
	if s.MinRx == 0 {
		s.MinRx = defaultInterval
	}
	if s.Multiplier == 0 {
		s.Multiplier = defaultMultiplier
	}
	if err := errors.Join(s.checkAddresses(), s.checkPath(), s.checkTimers()); err != nil {
		return s, &SessionError{Name: s.Name, Err: err}
	}
	return s, nil
}

func (s Session) checkAddresses() error {
	var errs []error
	if s.Name == "" {
		errs = append(errs, errors.New("no name: give one"))
	}
	p, l := s.Peer, s.Local
	linkLocal := p.Is6() && p.IsLinkLocalUnicast()
	switch {
	case !p.IsValid() || p.IsUnspecified() || p.IsMulticast():
		errs = append(errs, fmt.Errorf("peer %q: give the router's unicast address", p))
	case linkLocal && p.Zone() == "":
		errs = append(errs, fmt.Errorf("peer %s is link-local: give its interface, as in %s%%eth0", p, p))
	case !linkLocal && p.Zone() != "":
		errs = append(errs, fmt.Errorf("peer %s is not link-local: leave out the interface behind %%", p))
	case p.Zone() != "" && p.Zone() != s.Interface:
		errs = append(errs, fmt.Errorf("peer %s and interface %s differ: give only one of them", p, s.Interface))
	}
	if l.IsValid() && (l.IsUnspecified() || l.IsMulticast() || l.Is4() != p.Is4()) {
		errs = append(errs, fmt.Errorf("local address %s does not fit the peer %s: give a unicast address of the same family", l, p))
	}
	if l.Zone() != "" && l.Zone() != s.Interface {
		errs = append(errs, fmt.Errorf("local address %s is not on the interface %q of the session: give one that is", l, s.Interface))
	}
	return errors.Join(errs...)
}

func (s Session) checkPath() error {
	var errs []error
	if len(s.Interface) > maxInterfaceName {
		errs = append(errs, fmt.Errorf("interface %q: give a name of at most %d bytes", s.Interface, maxInterfaceName))
	}
	if s.Multihop && s.Interface != "" {
		errs = append(errs, fmt.Errorf("multihop on interface %s: leave out one of the two, as the route chooses the interface", s.Interface))
	}
	if !s.Multihop && s.MinTTL != 0 {
		errs = append(errs, fmt.Errorf("minimum TTL %d of a single-hop session, which wants %d anyway: leave it out or set multihop", s.MinTTL, directTTL))
	}
	return errors.Join(errs...)
}

func (s Session) checkTimers() error {
	var errs []error
	for _, d := range []struct {
		what  string
		value time.Duration
	}{{"transmit", s.MinTx}, {"receive", s.MinRx}} {
		if d.value < minInterval || d.value > maxInterval || d.value%time.Microsecond != 0 {
			errs = append(errs, fmt.Errorf("minimum %s interval %s: give whole microseconds from %s to %s", d.what, d.value, minInterval, maxInterval))
		}
	}
	return errors.Join(errs...)
}

func (s Session) timers() timers { return timers{s.MinTx, s.MinRx, s.Multiplier} }

// endpoint is what a session cannot change without becoming another one.
type endpoint struct {
	peer, local netip.Addr // as configured
	device      string
	multihop    bool
}

func (s Session) endpoint() endpoint {
	return endpoint{peer: s.Peer, local: s.Local, device: s.Interface, multihop: s.Multihop}
}
