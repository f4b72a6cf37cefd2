// Package differential holds the C program, with its tables as maps fills them,
// against the model in package test/packet/model: random services, random packets,
// and no difference allowed.
//
// It stands apart from package bpf because it needs maps, which bpf must not know.
package differential
