package maps

import (
	"time"

	"golang.org/x/sys/unix"
)

// grace is how long a program run may last that began before a change, where the kernel cannot tell: many
// times what one takes.
const grace = 5 * time.Millisecond

// membarrierGlobal is MEMBARRIER_CMD_GLOBAL of membarrier(2).
const membarrierGlobal = 1

// quiesce waits until every program run that began before has ended. Programs run within RCU, and
// membarrier's global command waits for a grace period of that, some 10 ms: on a machine without a
// processor to spare a run is preempted for longer than any time that one could choose. Kernels with
// nohz_full refuse it.
func quiesce() {
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0); errno != 0 {
		time.Sleep(grace)
	}
}
