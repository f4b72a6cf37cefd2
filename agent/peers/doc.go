// Package peers finds out which of the configured BGP peers a node has: by its name, by the
// labels of its Node object, and by the gateways of its default routes. It is pure; the agent
// asks again whenever one of them changes.
//
// What is not known takes nothing away. While there is no Node object, or no default route, a
// peer that the node has stays as it is, whose session may be the only one: a label that
// cannot be read is no label that was removed, and a route flaps sooner than a router dies.
// What is missing is a [Problem] meanwhile.
//
// A gateway keeps its name as long as it is one, whatever others come and go, since another
// name is another session.
package peers
