// Package packet builds the frames that tests send, and tells in which fields two
// frames differ.
//
// A Packet is a description; TCP, UDP, Echo and Error return one with the usual
// values, and its fields may then be changed. Frame, IP and Fragments make bytes of
// it, with lengths and checksums right. What must be wrong is changed in the bytes.
// Tunnel returns a packet between nodes, OpenTunnel takes one apart.
package packet
