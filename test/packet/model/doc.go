// Package model says what the load balancer does with a frame. It is written from
// what the data path is for, in the plainest way, as the measure that the C
// program is tested against: whole packets are parsed into values, and checksums
// are summed over all that they cover.
//
// It has no clock: flows do not expire, and ICMP errors and bounces have no rate.
// Two choices are the program's own and the model only checks them: the port that
// a translated flow gets, and the flow label of a flow's tunnel packets, which has to
// be the same in all of them. Which owners a row has is package chain's to say. What
// number the program has for them, and what the kernel's routing table would say, are
// inputs.
package model
