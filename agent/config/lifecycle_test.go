package config

import "testing"

func TestDrainFile(t *testing.T) {
	for _, tt := range []struct{ history, socket, want string }{
		{"/run/penstock/history.json", "/run/other/agent.sock", "/run/penstock/drain.json"},
		{"", "/run/penstock/agent.sock", "/run/penstock/drain.json"},
		{"/var/lib/penstock/history.json", "/run/penstock/agent.sock", "/var/lib/penstock/drain.json"},
	} {
		c := Default()
		c.Source.History, c.API.Socket = tt.history, tt.socket
		if got := c.DrainFile(); got != tt.want {
			t.Errorf("history %q, socket %q: %s, want %s", tt.history, tt.socket, got, tt.want)
		}
	}
}
