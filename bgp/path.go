package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	api "github.com/osrg/gobgp/v3/api"
	"google.golang.org/protobuf/types/known/anypb"
)

// Path is a prefix that we want routers to send us.
type Path struct {
	Prefix netip.Prefix
	// Offers say who is told of it, with which attributes; see Path.For.
	Offers []Offer
}

// PathError is what [Speaker.Sync] returns, joined, for each path that it could not carry out.
type PathError struct {
	Prefix netip.Prefix
	// Peer is the session that failed; empty if the path itself is wrong.
	Peer string
	Err  error
}

func (e *PathError) Error() string {
	if e.Peer == "" {
		return fmt.Sprintf("path %s: %v", e.Prefix, e.Err)
	}
	return fmt.Sprintf("path %s to peer %s: %v", e.Prefix, e.Peer, e.Err)
}

func (e *PathError) Unwrap() error { return e.Err }

func (p Path) check() error {
	switch {
	case !p.Prefix.IsValid():
		return &PathError{Prefix: p.Prefix, Err: errors.New("not a prefix: give an address and a length")}
	case p.Prefix.Addr().Is4In6():
		return &PathError{Prefix: p.Prefix, Err: errors.New("IPv4-mapped: give it as IPv4")}
	case p.Prefix != p.Prefix.Masked():
		return &PathError{Prefix: p.Prefix, Err: fmt.Errorf("bits beyond the length: give %s", p.Prefix.Masked())}
	}
	for _, o := range p.Offers {
		if err := o.check(); err != nil {
			return &PathError{Prefix: p.Prefix, Err: err}
		}
	}
	return nil
}

// carries reports whether sessions to the peer have the prefix's family.
func (p Peer) carries(prefix netip.Prefix) bool {
	return slices.Contains(p.Families, familyOf(prefix.Addr()))
}

// nextHop returns what GoBGP is told; the unspecified address becomes our end of the session.
func (p Peer) nextHop(f Family) netip.Addr {
	configured, self := p.NextHop4, netip.IPv4Unspecified()
	if f == IPv6 {
		configured, self = p.NextHop6, netip.IPv6Unspecified()
	}
	if configured.IsValid() {
		return configured
	}
	return self
}

func (f Family) api() *api.Family {
	if f == IPv4 {
		return &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}
	}
	return &api.Family{Afi: api.Family_AFI_IP6, Safi: api.Family_SAFI_UNICAST}
}

// apiPath is the path as GoBGP takes it, with origin IGP (RFC 4271 section 5.1.1).
func apiPath(prefix netip.Prefix, nextHop netip.Addr) (*api.Path, error) {
	family := familyOf(prefix.Addr()).api()
	nlri, err := anypb.New(&api.IPAddressPrefix{Prefix: prefix.Addr().String(), PrefixLen: uint32(prefix.Bits())})
	if err != nil {
		return nil, err
	}
	origin, err := anypb.New(&api.OriginAttribute{Origin: 0})
	if err != nil {
		return nil, err
	}
	var hop *anypb.Any
	if prefix.Addr().Is4() {
		hop, err = anypb.New(&api.NextHopAttribute{NextHop: nextHop.String()})
	} else {
		hop, err = anypb.New(&api.MpReachNLRIAttribute{Family: family, NextHops: []string{nextHop.String()}, Nlris: []*anypb.Any{nlri}})
	}
	if err != nil {
		return nil, err
	}
	return &api.Path{Family: family, Nlri: nlri, Pattrs: []*anypb.Any{origin, hop}}, nil
}
