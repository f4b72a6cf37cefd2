// Package wire reads and writes BGP messages (RFC 4271) as far as a speaker needs it that announces
// routes and uses none: it checks the framing, takes OPEN messages apart and puts them together anew,
// reads NOTIFICATIONs aloud, and counts the routes of UPDATEs without looking at their attributes.
//
// It stands between routers and GoBGP v3, whose parser has seen fixes that v3 does not get any more:
// what it lets through is made of parts that it has understood.
package wire
