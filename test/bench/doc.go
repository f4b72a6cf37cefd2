// Package bench measures programs in nanoseconds of CPU time per packet, each
// beside floors in the same run. `make bench` prints the table.
//
// A program test with many repeats would let a program see its own output from the
// second run on. So a harness program stands before it: it restores the frame's
// length and headers from a template, takes the client's address and port from a
// counter, and tail-calls the program. The thread's CPU time is divided by what the
// counter has moved. What the harness costs with a bare XDP_TX behind it is
// subtracted.
//
// Machines drift, so every round measures all scenarios in an order of its own, and
// one of them is there twice: where those two differ, so much is noise.
package bench
