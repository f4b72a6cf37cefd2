// Package ndisc finds the router on a link, and lets it find us, for BGP sessions that nobody
// gave an address (unnumbered): by the router advertisements of IPv6 neighbour discovery (RFC 4861).
//
// # What is sent
//
// Advertisements say that we are there and nothing else: their lifetime is 0, so that nobody
// takes us for a default router, and they have no prefix. A router learns from their source which address
// the session is to be opened to. One is sent at the start, about every 10 s, and in answer to a
// solicitation, but no two within 3 s (MIN_DELAY_BETWEEN_RAS). With each goes a
// solicitation of our own, since routers advertise themselves every 10 minutes by default.
//
// # What is believed
//
// An advertisement counts with hop limit 255, which no router can have forwarded, from a link-local
// address that is not ours. Who is on the link can forge one all the same, as with any unnumbered
// session: the interface has to be one that only routers are on, and a password protects the session.
//
// The first router stays as long as it is heard; the next one takes its place when it has been silent
// for [Silence]. Which one advertises a longer lifetime does not count: nobody routes by it here.
//
// Raw sockets need CAP_NET_RAW.
package ndisc
