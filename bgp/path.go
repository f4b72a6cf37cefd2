package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	api "github.com/osrg/gobgp/v3/api"
	"google.golang.org/protobuf/proto"
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
		if err := o.check(maxCommunities + 1); err != nil {
			return &PathError{Prefix: p.Prefix, Err: err}
		}
	}
	return nil
}

func (f Family) api() *api.Family {
	if f == IPv4 {
		return &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}
	}
	return &api.Family{Afi: api.Family_AFI_IP6, Safi: api.Family_SAFI_UNICAST}
}

// apiPath is the path as GoBGP takes it, with origin IGP (RFC 4271 section 5.1.1). asn is what we are to
// the router: GoBGP puts it before a prepended AS path once more.
func apiPath(prefix netip.Prefix, path sentPath, asn uint32) (*api.Path, error) {
	family := familyOf(prefix.Addr()).api()
	nlri, err := anypb.New(&api.IPAddressPrefix{Prefix: prefix.Addr().String(), PrefixLen: uint32(prefix.Bits())})
	if err != nil {
		return nil, err
	}
	attrs := []proto.Message{&api.OriginAttribute{Origin: 0}}
	if prefix.Addr().Is4() {
		attrs = append(attrs, &api.NextHopAttribute{NextHop: path.hop.String()})
	} else {
		attrs = append(attrs, &api.MpReachNLRIAttribute{Family: family, NextHops: []string{path.hop.String()}, Nlris: []*anypb.Any{nlri}})
	}
	out := &api.Path{Family: family, Nlri: nlri}
	for _, attr := range append(attrs, path.attributes.api(asn)...) {
		packed, err := anypb.New(attr)
		if err != nil {
			return nil, err
		}
		out.Pattrs = append(out.Pattrs, packed)
	}
	return out, nil
}

// api is the attributes as GoBGP takes them.
func (a Attributes) api(asn uint32) (out []proto.Message) {
	if a.Prepend > 0 {
		segment := &api.AsSegment{Type: api.AsSegment_AS_SEQUENCE, Numbers: slices.Repeat([]uint32{asn}, int(a.Prepend))}
		out = append(out, &api.AsPathAttribute{Segments: []*api.AsSegment{segment}})
	}
	if a.MED != nil {
		out = append(out, &api.MultiExitDiscAttribute{Med: *a.MED})
	}
	if a.LocalPref != nil {
		out = append(out, &api.LocalPrefAttribute{LocalPref: *a.LocalPref})
	}
	if len(a.Communities) > 0 {
		attr := &api.CommunitiesAttribute{}
		for _, c := range a.Communities {
			attr.Communities = append(attr.Communities, uint32(c))
		}
		out = append(out, attr)
	}
	if len(a.LargeCommunities) > 0 {
		attr := &api.LargeCommunitiesAttribute{}
		for _, c := range a.LargeCommunities {
			attr.Communities = append(attr.Communities, &api.LargeCommunity{GlobalAdmin: c.Global, LocalData1: c.Local1, LocalData2: c.Local2})
		}
		out = append(out, attr)
	}
	if a.Bandwidth > 0 {
		out = append(out, linkBandwidth(asn, a.Bandwidth))
	}
	return out
}

// linkBandwidth is the extended community of draft-ietf-idr-link-bandwidth, whose AS has two octets.
func linkBandwidth(asn uint32, bandwidth uint64) proto.Message {
	if asn > 0xffff {
		asn = asTrans
	}
	community, err := anypb.New(&api.LinkBandwidthExtended{Asn: asn, Bandwidth: float32(bandwidth)})
	if err != nil {
		panic(err) // of a message without strings there is none
	}
	return &api.ExtendedCommunitiesAttribute{Communities: []*anypb.Any{community}}
}

// asTrans stands for an AS that does not fit two octets (RFC 6793).
const asTrans = 23456
