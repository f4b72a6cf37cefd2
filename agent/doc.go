// Package agent is the loop that joins the leaves. Sources and routes only
// trigger it; each pass takes what changed, has a model of the wanted state follow,
// and hands what is new in it to each leaf. At the start, after a failure, when the
// configuration or a route changes, and now and then, the whole wanted state is compared
// with all that is there instead. That comes to the same, and what a change costs
// does not depend on how many Services there are. The order is one, in
// reconciler.apply for all and in reconciler.follow for a part:
//
//	withdraw paths that are no longer wanted → write the tables → announce paths whose services are in the kernel
//
// so that a router never sends what the tables do not know. What fails costs
// only itself: a service that the tables refuse is not announced, a change that
// they refuse, or tables that cannot be written, leave in force what was, and an
// interface that is missing leaves the others forwarding. Every failure is published in the status, logged
// when it changes, and tried again with a growing delay.
//
// A VIP's announcement has a life, of which lifecycle keeps account and has the last word: make
// before break. Whatever takes the node out of the way (a command, its Node object, the end of
// the agent) has routes become the last choice before they go, see package drain; a command's
// drain is kept in a file beside the history, for the next agent. What comes and goes too often
// waits, see package damping. That word is spoken once for each VIP that a pass judges, after
// all that could keep the VIP from being announced.
//
// At the start the order is: load the programs, open the maps, write the tables,
// attach, ask the program whether it forwards to each VIP (maps.Tables.Probe), then
// speak BGP. A fresh program never runs on empty tables, and a router never hears of an
// address that would not be answered. Until the source has synced once nothing is
// written at all, so a restarted agent leaves what it finds in force.
//
// Beside a source of kind kubernetes there is a Cluster: it is told what became of each
// Service and what this node is, allocates addresses while it leads, and holds nothing up.
//
// When the agent ends after a drain, it says so to routers in the order of the stages: last choice,
// withdrawn, Cease. When it ends, programs and tables stay pinned and go on forwarding:
// after a drain the stragglers are still carried, after a restart the next agent
// adopts them. bpf.Cleanup is what removes them.
package agent
