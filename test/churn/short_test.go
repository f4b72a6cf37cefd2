package churn

import "testing"

// TestShort plays what breaks flows elsewhere, with fewer of them. The controls show that the
// same tool sees breaks in those scenarios.
func TestShort(t *testing.T) {
	opts := Options{TCP: 1500, UDP: 150, Seed: *seed}
	over6 := opts
	over6.Underlay6 = true
	for _, c := range []struct {
		scenario, mode string
		opts           Options
		breaks         bool
	}{
		{"LB node killed", "dsr", over6, false},
		{"LB node killed", "nat", opts, true},
		{"LB node killed", "nftables", opts, true},
		{"weights change", "dsr", opts, false},
		{"weights change", "no chains", opts, true},
		{"all of these and an LB dies amid", "dsr", opts, false},
		{"ingress node's agent crashes", "dsr", opts, false},
	} {
		t.Run(c.scenario+"/"+c.mode, func(t *testing.T) {
			scenario, ok := ScenarioNamed(c.scenario)
			if !ok {
				t.Fatal("no such scenario")
			}
			mode, ok := ModeNamed(c.mode)
			if !ok {
				t.Fatal("no such mode")
			}
			r := Run(t, c.opts, mode, scenario)
			t.Log(describe(r))
			switch {
			case !c.breaks:
				expectNone(t, r)
			case len(r.Lived) == 0:
				t.Error("no flow broke: the tool sees nothing, or the control is none")
			}
		})
	}
}
