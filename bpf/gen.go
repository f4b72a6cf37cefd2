package bpf

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu" -type addr -type tuple -type frontend_key -type frontend -type region -type region_flags -type port_range -type slot_line -type chain -type rank -type tunnel -type tunnel_flags -type member -type member_flags -type learned_owner -type nexthop -type backend -type backend_key -type service -type flow_state -type flow_flags -type flow -type counter -type backend_counter -type verdict lb lb.bpf.c
