// Package bgp announces prefixes to routers over an embedded GoBGP, and keeps GoBGP's types to itself.
//
// A [Speaker] has one verb, [Speaker.Sync], which takes the whole wanted set of paths and sends the
// difference. It only announces: what routers send is counted and otherwise ignored, and the kernel's
// routes are not touched.
//
// # One GoBGP server per peer
//
// Each session has a GoBGP server of its own instead of one server with many neighbours, because a
// server ties its neighbours together in two ways that harm us: it re-advertises one neighbour's
// routes to the others unless policies forbid it, and it ends the graceful restart of all
// neighbours, also of those that are still connecting, when the first one has sent its End-of-RIB.
// Separate servers can do neither, and editing one peer cannot disturb another. The price is one
// copy of our paths per peer, about 1 kB for each path.
//
// # A relay between GoBGP and the router
//
// GoBGP opens no connection to a router. Its only neighbor is a relay of ours on the loopback, which has
// the connection to the router and passes messages on (package [wire] reads them):
//
//   - GoBGP v3 gets no fixes any more, and UPDATEs are known that make it panic. It sees none: their
//     networks are counted here, and the rest is dropped, so that nothing a router announces can end a
//     session, fill memory, or be re-advertised. What GoBGP gets is an OPEN that was taken apart and
//     put together anew from the capabilities that we understand, End-of-RIB, and requests for routes.
//   - GoBGP idles for 5 s after most ends of a session. The hold timer is ours, NOTIFICATIONs end here, and
//     GoBGP is reset instead, after which it waits for 1 s.
//   - Sockets are ours: passive peers share one listener although each has a GoBGP of its own, keys
//     change under a living session, link-local and unnumbered peers need nothing of GoBGP, and every
//     session is ended with the subcode that says why (RFC 4486, 9003, 9384).
//   - The send hold timer (RFC 9687) goes by what the router's TCP has acknowledged, which is nothing once its
//     buffer is full. GoBGP's goes by its own writes, which fail only when megabytes wait here, too.
//   - GoBGP tells neither why a connection failed nor what the router said at the end. The relay has
//     both.
//   - Our OPEN says that forwarding went on (the F bits of RFC 4724) after every loss, which GoBGP says
//     only after a restart: a router that kept our routes over a connection that broke keeps them.
//
// A process of its own for GoBGP was the alternative. It would contain a panic, and pay with a protocol
// between two processes of ours and with a session that is gone all the same. A panic for another reason
// than a message ends the agent: forwarding goes on in the kernel, and graceful restart keeps the routes
// until it is back. Connections to the loopback port are taken from this process alone.
//
// # Order at a start
//
// Sessions are opened by the first Sync, after its paths are in: GoBGP sends the End-of-RIB marker
// right after the paths it has when a session comes up, and the marker makes a router drop the
// routes of our previous life that were not repeated.
//
// Next hops are known once the relay has a connection, so it holds the router's OPEN back until the
// paths are in.
//
// # Graceful restart
//
// A router keeps our routes while we are away only if the connection broke without a Cease. That is
// what a crash does, and [Speaker.Stop] with [StopRestart], after which the process must end. The
// next process sets [Config.Restarting] if the data plane kept forwarding in between.
//
// # Limits
//
//   - The main goroutine of a GoBGP server cannot be ended: every peer that SetPeers removes, or edits so
//     that it takes a new session, leaves an idle one behind, with empty tables.
package bgp
