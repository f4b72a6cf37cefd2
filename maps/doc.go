// Package maps keeps the BPF tables as they are wanted. It knows backends,
// frontends and weights, and nothing of Kubernetes or BGP.
//
// # Tables
//
// A service is one lookup table of 2^k rows (package maps/rendezvous), laid out
// in a region of slots, the flat array that all services share and that is
// mapped into this process: a table costs memory writes, not system calls. A row
// holds the index of a backend. A frontend names its service, and regions, an array
// by service, says where the table is.
//
// # Order
//
// Sync makes the tables what is wanted, in an order in which every packet, at
// any moment, finds either the state before or the state after:
//
//	backends that are new        before the rows that name them
//	rows                         before the region that holds them is published
//	a region                     before the frontends of the service
//	frontends that are gone      before their service's region is free
//	backends that are gone       after the last row that named them
//
// Rows change one by one in place: each packet reads one row, and a row is right
// before and after. Only a table that changes its size moves to a new region,
// which one store of 64 bits publishes for all frontends of the service. Regions
// and indices that became free are not used again before all programs that began
// earlier have ended, and the same goes for the elements of frontends: the kernel
// would give a freed one to the next frontend while programs still read it.
//
// A frontend that moves from one service to another does so in one update; what
// its old service changes in the same Sync it may see for that moment.
//
// Memory follows the kernel: what an update did not bring into the kernel is not
// remembered as done, so the next Sync does it.
//
// # Restart
//
// The kernel is the ledger. Open reads back which service has which region and
// which backend which index; names stand in the services map. The first Sync
// then writes only what differs, and prunes what nobody wants.
package maps
