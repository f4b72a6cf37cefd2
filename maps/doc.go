// Package maps keeps the BPF tables as they are wanted. It knows backends,
// frontends, weights and tunnels, and nothing of Kubernetes or BGP.
//
// # Tables
//
// A service is one lookup table of 2^k rows (package maps/chain), laid out in a
// region of slots, the flat array that all services share and that is mapped into
// this process: a table costs memory writes, not system calls. A row names the
// backend of new flows; where others may have flows of it, also an element of chains;
// and ranks says for each row whom to ask after those. A frontend names its service,
// and regions, an array by service, says where the table is.
//
// An element of chains is there once for each content, whoever names it, and is not
// changed while a row does. Where chains is full, a row makes do with its primary,
// and Warnings says so.
//
// A service whose backends are all translated (NAT) has neither chains nor ranks, as
// its flows are in a table of their own. That table is asked until the last of them
// has ended: see translation.
//
// # Order
//
// Sync makes the tables what is wanted, in an order in which every packet, at
// any moment, finds either the state before or the state after:
//
//	tunnels that are new         before the backends that name them
//	backends that are new        before the rows that name them
//	chains that are new          before the rows that name them
//	rows                         before the region that holds them is published
//	a region that is usable      after its rows have primaries
//	one that no longer is        before they have none
//	source ranges that are new   before the region that says to look at them
//	a region                     before the frontends of the service
//	frontends that are gone      before their service's region is free
//	backends that are gone       are leaving after the last row that named them, and
//	                             emptied after the last program that may be about them
//	tunnels that are gone        after the last backend that named them
//	source ranges that are gone  after the last program that may look for them
//
// Rows change one by one in place: each packet reads one row, and a row is right
// before and after. It reads the row's chain and ranks after that. An owner that
// comes into the ranks from the chain is in both for a moment, and so is one that
// rises from the ranks to the chain: for as long as a program may run that has read
// the row before.
//
// Only a table that changes its size moves to a new region,
// which one store of 64 bits publishes for all frontends of the service. Regions,
// chains and indices that became free are not used again before all programs that
// began earlier have ended, and the same goes for the elements of frontends: the kernel
// would give a freed one to the next frontend while programs still read it.
//
// Rows are not all that leads to a backend: flows that were displaced or are translated
// are remembered with the number of theirs. That is heeded until the backend is leaving, so
// that no program is about an element that is emptied, or given to the next one.
//
// A frontend that moves from one service to another does so in one update; what
// its old service changes in the same Sync it may see for that moment.
//
// Memory follows the kernel: what an update did not bring into the kernel is not
// remembered as done, so the next Sync does it.
//
// # Partial changes
//
// A Sync is given everything, or only what changes (Want.Partial). What the tables have
// to know then of all else they keep from the Syncs before: whose a frontend is, how
// many frontends a VIP has, when time will change which rows, and what could not be
// done. A whole Sync makes all of that anew.
//
// # Restart
//
// The kernel is the ledger. Open reads back which service has which region and
// which backend and which tunnel which index; names stand in the services map; the
// rows say which chains are in use. The first Sync then writes only what differs, and
// prunes what nobody wants. Rows that mean the same stay untouched, as their chains
// have the same content.
//
// # Probes
//
// Probe runs the loaded program on the first packet of a flow, before a VIP is announced, and
// says whether it goes to a backend. It is a whole packet, with nothing in it that the program
// would have to treat in its own way, so that the hot path knows nothing of probes. The price is
// that counters count it, and that where flows are translated there is one for some
// microseconds: a full flow table evicts the least recently used for it, as for any other. A
// packet that the program refuses late, as one whose TTL ends here, would leave a flow as well;
// one that it refuses early, as one from a VIP, would say nothing of the route.
//
// # Ingress nodes
//
// NodeTables keeps the tables of the other role: who may send packets through the
// tunnel, and which pods are here. The flows are the data path's; this package removes
// those that are over.
package maps
