package bfd

import "time"

// timers are the parameters of a session that may change while it is up.
type timers struct {
	minTx, minRx time.Duration
	multiplier   uint8
}

// slowTx is the shortest transmit interval of a session that is not up, section 6.8.3.
const slowTx = time.Second

// pollState says where a poll sequence of section 6.5 stands.
type pollState uint8

const (
	noPoll pollState = iota
	polling
	// pollingAgain: the timers changed after the sequence had begun, so that its end says nothing about
	// them, and another sequence follows.
	pollingAgain
)

// desiredTx is bfd.DesiredMinTxInterval.
func (m *machine) desiredTx() time.Duration {
	if m.state == Up {
		return m.want.minTx
	}
	return max(m.want.minTx, slowTx)
}

// settle brings the wanted intervals into force as far as section 6.8.3 allows before the remote has
// confirmed them. While the session is up we may send faster at once, and must as soon as we say so: the
// remote shortens its detection time when it reads the new interval. In the same way we wait longer at
// once. Sending slower and waiting shorter come with the end of the poll sequence.
func (m *machine) settle() {
	switch {
	case m.state == Up:
		m.tx, m.rx = min(m.tx, m.desiredTx()), max(m.rx, m.want.minRx)
	case m.farewells > 0:
		m.rx, m.poll = m.want.minRx, noPoll
	default:
		m.tx, m.rx, m.poll = m.desiredTx(), m.want.minRx, noPoll
	}
}

func (m *machine) startPoll() {
	if m.poll == noPoll || !m.polled {
		m.poll, m.polled = polling, false
		return
	}
	m.poll = pollingAgain
}

// finishPoll takes a packet with the Final bit. One that comes before our first packet with the Poll
// bit answers an older sequence.
func (m *machine) finishPoll() {
	switch {
	case m.poll == noPoll || !m.polled:
	case m.poll == pollingAgain:
		m.poll, m.polled = polling, false
	default:
		m.poll, m.tx, m.rx = noPoll, m.desiredTx(), m.want.minRx
	}
}

// interval is the time between packets before jitter; 0 if none are sent periodically.
func (m *machine) interval() time.Duration {
	demanded := m.remote.demand && m.state == Up && m.remote.state == Up && m.poll == noPoll
	if m.remote.minRx == 0 || demanded {
		return 0
	}
	if m.state == AdminDown && m.farewells == 0 {
		return max(m.desiredTx(), m.remote.minRx)
	}
	return max(m.tx, m.remote.minRx)
}

// detection is how long the remote may be silent, section 6.8.4.
func (m *machine) detection() time.Duration {
	return time.Duration(m.remote.multiplier) * max(m.rx, m.remote.minTx)
}

// unpaced is no interval, so that pace computes anew.
const unpaced = -1

// pace computes when the next packet is due, if one was sent or the interval changed. A shorter
// interval counts from the last packet too, so the time may have passed already.
func (m *machine) pace() {
	d := m.interval()
	if d == m.paced {
		return
	}
	m.paced, m.nextTx = d, time.Time{}
	if d != 0 {
		m.nextTx = m.sent.Add(m.jitter(d))
	}
}

// jitter takes up to a quarter off, and at least a tenth if one lost packet already means the end
// (section 6.8.7).
func (m *machine) jitter(d time.Duration) time.Duration {
	const shortest, longest, longestOfOne = 0.75, 1.0, 0.9
	top := longest
	if m.want.multiplier == 1 {
		top = longestOfOne
	}
	return time.Duration(float64(d) * (shortest + (top-shortest)*m.random()))
}
