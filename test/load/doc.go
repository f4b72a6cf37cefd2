// Package load is the clients of web sites behind a load balancer and an L7 tier: it
// counts what fails while something happens to these.
//
// Held connections are HTTP/1.1 connections with a request every now and then, each of which
// has to be answered by the proxy that answered the first one. Beside them new
// connections are made all the time, with one request each. Every answer says, by [Site],
// which proxy passed it on and whose address that saw: [Report.WrongClient] counts those that
// saw another address than the connection's own.
//
// A held connection ends in one of two ways. Its server closes it between two requests, with the
// answer's Connection: close or by a FIN alone: that is an [End] with Asked true or Clean true, as any
// server may do, and it is for the test to say whether that one had a reason, such as its pod's
// termination. Anything else is broken: a reset, an answer cut off, silence for longer than the patience.
package load
