package bgp

import (
	"encoding/json"
	"time"
)

// plainState is PeerState without its methods.
type plainState PeerState

type jsonUptime struct {
	Seconds float64 `json:"uptimeSeconds"`
}

// MarshalJSON gives Uptime in seconds, as durations are given elsewhere.
func (p PeerState) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		plainState
		jsonUptime
	}{plainState(p), jsonUptime{p.Uptime.Seconds()}})
}

// UnmarshalJSON takes what MarshalJSON gives.
func (p *PeerState) UnmarshalJSON(b []byte) error {
	var up jsonUptime
	if err := json.Unmarshal(b, &up); err != nil {
		return err
	}
	if err := json.Unmarshal(b, (*plainState)(p)); err != nil {
		return err
	}
	p.Uptime = time.Duration(up.Seconds * float64(time.Second))
	return nil
}
