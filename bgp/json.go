package bgp

import (
	"encoding/json"
	"time"
)

// plainState and plainBFD are the states without their methods.
type (
	plainState PeerState
	plainBFD   BFDState
)

type jsonTimes struct {
	Uptime   float64 `json:"uptimeSeconds"`
	HoldTime float64 `json:"holdTimeSeconds,omitempty"`
}

type jsonBFD struct {
	Detection float64 `json:"detectionSeconds,omitempty"`
}

// MarshalJSON gives durations in seconds, as they are given elsewhere.
func (p PeerState) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		plainState
		jsonTimes
	}{plainState(p), jsonTimes{p.Uptime.Seconds(), p.HoldTime.Seconds()}})
}

// UnmarshalJSON takes what MarshalJSON gives.
func (p *PeerState) UnmarshalJSON(b []byte) error {
	var times jsonTimes
	if err := json.Unmarshal(b, &times); err != nil {
		return err
	}
	if err := json.Unmarshal(b, (*plainState)(p)); err != nil {
		return err
	}
	p.Uptime, p.HoldTime = duration(times.Uptime), duration(times.HoldTime)
	return nil
}

// MarshalJSON gives durations in seconds, as they are given elsewhere.
func (s BFDState) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		plainBFD
		jsonBFD
	}{plainBFD(s), jsonBFD{s.Detection.Seconds()}})
}

// UnmarshalJSON takes what MarshalJSON gives.
func (s *BFDState) UnmarshalJSON(b []byte) error {
	var times jsonBFD
	if err := json.Unmarshal(b, &times); err != nil {
		return err
	}
	if err := json.Unmarshal(b, (*plainBFD)(s)); err != nil {
		return err
	}
	s.Detection = duration(times.Detection)
	return nil
}

func duration(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }
