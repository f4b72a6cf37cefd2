package config

import (
	"strings"
	"testing"
)

func TestCheckPorts(t *testing.T) {
	tests := []struct{ name, nat, local, reserved, wrong string }{
		{name: "apart", nat: "1024-29999", local: "32768\t60999\n", reserved: "\n"},
		{name: "touching", nat: "1024-32767", local: "32768 60999"},
		{name: "one port", nat: "1024-32768", local: "32768 60999", wrong: "port 32768"},
		{name: "inside", nat: "40000-40001", local: "32768 60999", wrong: "ip_local_reserved_ports=40000-40001"},
		{name: "reserved", nat: "40000-40002", local: "32768 60999", reserved: "8080,40000,40001-40002"},
		{name: "reserved in part", nat: "40000-40002", local: "32768 60999", reserved: "40000,40002", wrong: "port 40001"},
		{name: "not a range", nat: "1-2", local: "32768", wrong: "not two numbers"},
		{name: "not a port", nat: "1-2", local: "32768 x", wrong: "ip_local_port_range is"},
		{name: "not a set", nat: "1-2", local: "1 2", reserved: "a", wrong: "ip_local_reserved_ports is"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := ParsePortRange(tt.nat)
			if err != nil {
				t.Fatal(err)
			}
			err = CheckPorts(r, tt.local, tt.reserved)
			if tt.wrong == "" && err != nil || tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)) {
				t.Errorf("CheckPorts = %v, want %q in it", err, tt.wrong)
			}
		})
	}
}
