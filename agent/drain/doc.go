// Package drain takes a node out of the way of traffic before its routes go.
//
// A drain has three stages, each of all VIPs of the node:
//
//	announced → gracefulShutdown → withdrawn
//
// In gracefulShutdown every route stays, and becomes the last choice (RFC 8326): routers move
// flows to other LB nodes while this one still carries what arrives. Once no packet has
// arrived for [Quiet], or the time is up, the routes go. Whoever ends the drain has them
// announced plainly again, from either stage, in one step.
//
// What has a node drain is an [Ask]; it drains as long as there is one. [State.Next] is the
// whole machine: a function of what is asked, of the time and of the packets carried so far.
// It knows nothing of who announces, and nothing of files; [Saved] is what of it an agent has
// to remember over a restart.
package drain
