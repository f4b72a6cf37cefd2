// Package bfd watches paths to routers with asynchronous BFD (RFC 5880) over one hop (RFC 5881) or
// several (RFC 5883). It knows nothing of BGP.
package bfd
