package config

import "github.com/penstock-lb/penstock/agent/advertise"

func defaultAdvertisement() advertise.Entry { return advertise.Entry{} }

// advertisementSettings are those of one entry of bgp.advertisements. A change of any is told to
// routers without a withdrawal in between.
var advertisementSettings = []setting[advertise.Entry]{
	{Key{"name", "", live, "Name in reasons and logs. Of the list of advertisements, the first one that selects a VIP and is for a peer says what that peer is told of the VIP; without the list everything is told to all"},
		func(e *advertise.Entry) value { return stringValue{&e.Name} }},
	{Key{"serviceSelector", "", live, "Label selector of the Services whose VIPs it selects, as in `tier in (web, api)`; empty: all. Where `namespaces`, `namespaceSelector` or `pools` is set too, each of them must allow a VIP"},
		func(e *advertise.Entry) value { return selectorValue{&e.ServiceSelector} }},
	{Key{"namespaces", "", live, "Namespaces of the Services whose VIPs it selects; empty: all"},
		func(e *advertise.Entry) value { return listValue{&e.Namespaces} }},
	{Key{"namespaceSelector", "", live, "Label selector of the namespaces of the Services whose VIPs it selects; empty: all"},
		func(e *advertise.Entry) value { return selectorValue{&e.NamespaceSelector} }},
	{Key{"pools", "", live, "Names of the pools whose addresses it selects; empty: any address"},
		func(e *advertise.Entry) value { return listValue{&e.Pools} }},
	{Key{"peers", "", live, "Names of the BGP peers that it is for; empty: all"},
		func(e *advertise.Entry) value { return listValue{&e.Peers} }},
	{Key{"communities", "", live, "Communities (RFC 1997) of its paths, as in `64512:100`, or well-known ones by name, as in `no-export`"},
		func(e *advertise.Entry) value { return communitiesValue{&e.Communities} }},
	{Key{"largeCommunities", "", live, "Large communities (RFC 8092) of its paths, as in `64512:1:2`"},
		func(e *advertise.Entry) value { return largeCommunitiesValue{&e.LargeCommunities} }},
	{Key{"localPref", "", live, "Local preference of its paths, which routers of this node's own AS alone are told; the higher one is preferred. Empty: 100"},
		func(e *advertise.Entry) value { return optionalValue{&e.LocalPref} }},
	{Key{"med", "", live, "Multi-exit discriminator of its paths; the lower one is preferred. Empty: none"},
		func(e *advertise.Entry) value { return optionalValue{&e.MED} }},
	{Key{"prepend", "", live, "How many times more this node's AS is in the AS path, for routers of other ASes; at most 32"},
		func(e *advertise.Entry) value { return uintValue[uint8]{&e.Prepend} }},
	{Key{"linkBandwidth", "", live, "Link-bandwidth community of its paths, by which routers share flows unequally among LB nodes: `auto` is what this node's attached devices can take, or a rate in bits per second, as in `10G`; empty: none"},
		func(e *advertise.Entry) value { return bandwidthValue{&e.LinkBandwidth} }},
	{Key{"aggregateLength4", "", live, "Length of the prefix, from 8 to 31, that is announced while one IPv4 VIP in it is; 0: none"},
		func(e *advertise.Entry) value { return uintValue[uint8]{&e.AggregateLength4} }},
	{Key{"aggregateLength6", "", live, "Length of the prefix, from 16 to 127, that is announced while one IPv6 VIP in it is; 0: none"},
		func(e *advertise.Entry) value { return uintValue[uint8]{&e.AggregateLength6} }},
	{Key{"aggregateOnly", "", live, "Suppress the VIPs' own prefixes where there is an aggregate: routers are told of that alone"},
		func(e *advertise.Entry) value { return boolValue{&e.AggregateOnly} }},
}
