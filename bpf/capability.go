package bpf

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// needed are the capabilities without which the kernel takes no program of this
// kind. Without PERFMON the verifier refuses loops and arithmetic on pointers, in
// words that say nothing of it.
var needed = []struct {
	name string
	bit  uint
}{{"NET_ADMIN", unix.CAP_NET_ADMIN}, {"PERFMON", unix.CAP_PERFMON}, {"BPF", unix.CAP_BPF}}

// withCapabilities adds to an error which capabilities this process lacks.
func withCapabilities(err error) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return err
	}
	has := uint64(data[0].Effective) | uint64(data[1].Effective)<<32
	if has&(1<<unix.CAP_SYS_ADMIN) != 0 {
		return err
	}
	var missing []string
	for _, c := range needed {
		if has&(1<<c.bit) == 0 {
			missing = append(missing, c.name)
		}
	}
	if len(missing) == 0 {
		return err
	}
	return fmt.Errorf("this process lacks the capabilities %s; run as root, or give it BPF, NET_ADMIN and PERFMON: %w",
		strings.Join(missing, ", "), err)
}
