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
// # Order at a start
//
// Sessions are opened by the first Sync, after its paths are in: GoBGP sends the End-of-RIB marker
// right after the paths it has when a session comes up, and the marker makes a router drop the
// routes of our previous life that were not repeated.
//
// # Graceful restart
//
// A router keeps our routes while we are away only if the connection broke without a Cease. That is
// what a crash does, and [Speaker.Stop] with [StopRestart], after which the process must end. The
// next process sets [Config.Restarting] if the data plane kept forwarding in between.
//
// # Limits
//
//   - The main goroutine of a GoBGP server cannot be ended: every peer that SetPeers removes or edits
//     leaves an idle one behind, with empty tables.
//   - A panic inside GoBGP's goroutines, which a malformed message from a router may cause in v3,
//     cannot be caught here and ends the process. Forwarding does not depend on the process and
//     graceful restart keeps the routes; authenticate sessions with Peer.Password and
//     Peer.TTLSecurity, so that only routers can send messages.
//   - We only open connections and never listen: several speakers fit on one host, and the router
//     must accept connections.
package bgp
