// Package bfd watches paths to routers with BFD: asynchronous mode (RFC 5880) over one hop (RFC 5881)
// or several (RFC 5883), IPv4 and IPv6. It knows nothing of BGP.
//
// A [Server] has one verb, [Server.Sync], which takes the whole wanted set of sessions. [Server.Run]
// reports each [Change] at once; [Server.States] says how every session does and why it is not up.
//
// # Parts
//
//   - packet.go: the control packet and the reception checks that need no session (section 6.8.6)
//   - machine.go, timers.go: one session as a function of event and time (sections 6.2, 6.5, 6.8)
//   - listen.go, send.go: sockets; demux.go: whose packet it is
//   - session.go: a machine with a clock and a socket; server.go: all of them
//
// # Failure and intent
//
// A session that goes down tells its user one of two things. Change.Failed says that the path or the
// peer's BFD failed: what uses the path should look elsewhere. Otherwise one end was taken out of
// service, which says nothing about the path (RFC 5882 section 3.2). So that the peer can tell the two
// apart as well, a session that ends in order is AdminDown first, and says so up to three times until
// the peer has left the state Up.
//
// # Timers
//
// Up, a session sends at the faster rate at once and does not wait for the end of the poll sequence:
// FRR shortens its detection time when it reads the new interval, and would miss us. Whatever makes
// the peer wait for us longer, or us wait shorter, comes into force with the Final bit (section 6.8.3).
// Outside of Up there is no poll sequence and new values hold at once, as with FRR and BIRD.
//
// Before a session is called dead, what waits in the socket is read: a process that did not get to run
// finds its timer expired and the peer's packets there. For the same reason datagrams are read on
// whichever goroutine needs them, and sending never waits.
//
// # What it needs
//
// No capability and no raw socket: the ports are above 1023, and a socket that is bound to no device
// yet may be bound to one since Linux 5.7. UDP ports 3784 and 4784 are open only while a session needs
// them, per family. They are not shared with another BFD daemon of the host; Sync says so.
//
// # The router's side
//
// The tests run against FRR 8.4 and BIRD 2.0. 10.1.1.2 and fe80::2 are an LB node. FRR:
//
//	bfd
//	 peer 10.1.1.2 local-address 10.1.1.1 interface lb
//	  detect-multiplier 3
//	  receive-interval 300
//	  transmit-interval 300
//
// BIRD:
//
//	protocol bfd {
//		interface "lb" { interval 300 ms; multiplier 3; };
//		neighbor 10.1.1.2 dev "lb";
//		neighbor fe80::2 dev "lb";
//	}
//
// BIRD sends multihop packets with a TTL of 64: MinTTL counts from there. FRR's bgpd takes multihop
// BFD for a neighbor with both `ttl-security` and `bfd`.
//
// # Limits
//
//   - No authentication: packets with the A bit are dropped. One hop is guarded by the TTL, several by
//     MinTTL and by discriminators that cannot be guessed; on a shared segment anybody can end a session.
//   - No echo function, and no demand mode of our own. A peer in demand mode gets packets only in poll
//     sequences, as it wants.
//   - A Final that answers the poll sequence before is told from ours only until ours has sent a packet:
//     the protocol does not number them. Nor is a session guarded against reordered packets while it
//     comes up, which costs another second.
//   - After the process was stopped for long, packets that waited in the socket count as heard now, so a
//     peer that died meanwhile is noticed one detection time later.
//   - The local address that a route chooses is looked at again only while nothing is heard of the peer.
//     VRFs are not known.
//   - With many runnable processes per core the kernel keeps any thread of normal priority waiting for
//     100 ms and more, ours and the router's BFD alike if it is one: 3×50 ms then costs sessions. The
//     default is 3×300 ms.
//
// # Rejected
//
//   - One socket per session with SO_REUSEPORT: the kernel spreads a peer's packets by hash, not by
//     discriminator.
//   - BPF or a timer wheel for sending: a goroutine per session kept 3×50 ms with four busy loops on two
//     cores.
//   - SO_REUSEADDR, to start while an older process ends: two daemons on a port take each other's
//     packets, and neither notices.
//   - A channel of changes: one that is full must either block the receiver or lose a change.
package bfd
