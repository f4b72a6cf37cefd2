// Package api is what an agent tells the outside about itself: the Status
// document, a small JSON API over HTTP on a unix socket (and, if configured, on
// a loopback address), the health endpoints beside the metrics, and the client
// that the command line uses.
//
// [Explain] follows one Kubernetes Service from its object to the routers. What an agent of
// one role or source lacks it need not implement: the server looks for the interfaces
// [Explainer], [Allocator], [Picker] and [Drainer].
//
// The API reads, but for POST /v1/drain and /v1/undrain on the unix socket. It answers from what the agent last published and from
// counters read at the moment of the request, so a slow reader never holds up
// the agent's loop; what changes something waits for the loop to have taken it over.
package api
