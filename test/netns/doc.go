// Package netns tests the whole of Penstock in network namespaces: real agents,
// real kernel programs, real routers and web servers, and the tools of operators
// as judges.
package netns
