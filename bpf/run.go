package bpf

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// Action is what the program has the kernel do with a frame: enum xdp_action.
type Action uint32

// The actions.
const (
	Aborted Action = iota
	Drop
	Pass
	Transmit
	Redirect
)

// longestOverhead is more than what encapsulation, or an ICMP error around it, adds to a frame.
const longestOverhead = 256

// xdpMD is struct xdp_md of linux/bpf.h.
type xdpMD struct{ Data, DataEnd, DataMeta, IngressIfindex, RxQueueIndex, EgressIfindex uint32 }

// Run has the loaded program look at a frame as if it had come in by a device of this network
// namespace, and returns what it made of it (BPF_PROG_TEST_RUN). The frame goes nowhere, but
// counters and flows are as after any other. It takes no capability that Load does not.
func (lb *LB) Run(frame []byte, ifindex uint32) (Action, []byte, error) {
	opts := ebpf.RunOptions{
		Data: frame, DataOut: make([]byte, len(frame)+longestOverhead),
		Context: xdpMD{DataEnd: uint32(len(frame)), IngressIfindex: ifindex},
	}
	action, err := lb.prog.Run(&opts)
	if err != nil {
		return 0, nil, withCapabilities(fmt.Errorf("run the program on a frame of %d bytes by device %d: %w", len(frame), ifindex, err))
	}
	return Action(action), opts.DataOut, nil
}
