package ingress

import (
	"testing"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/test/packet"
)

// A client resets or closes its connection and uses the port again within a minute. The
// SYN went to another pod, and now the row is this one's again, whose pod would reset a
// flow that it does not know: it is looked for elsewhere. A pod that still has the
// connection, or of which nobody can tell, gets what comes.
func TestTupleUsedAgainOnAnotherPod(t *testing.T) {
	each(t, func(t *testing.T, r *rig, c cast) {
		ends := map[string]func(){
			"reset": func() { r.is("deliver", c.request(tcp(c.client, c.vip, packet.RST, clientSeq+1, 0), 0)) },
			"closed": func() {
				r.is("deliver", c.request(tcp(c.client, c.vip, packet.FIN|packet.ACK, clientSeq+1, podSeq+1), 0))
				r.answers("return", tcp(c.pod, c.client, packet.FIN|packet.ACK, podSeq+1, clientSeq+2))
			},
		}
		for name, end := range ends {
			r.empty("young_flows")
			r.empty("node_flows")
			r.pod(c.pod.Addr(), bpf.PodNetnsUnknown)
			r.handshake(c)
			end()
			r.wantFlow(c, young, stateClosing)
			next := tcp(c.client, c.vip, packet.ACK|packet.PSH, 0x70000000, 0x71000000)
			r.pod(c.pod.Addr(), bpf.PodNetnsOwn) // where there is no such socket
			if got := r.in(c.request(next, 0)); got.verdict != "bounce" {
				t.Errorf("%s: a packet of the next flow: %s", name, got.verdict)
			}
			r.wantFlow(c, young, stateClosing)
			r.is("deliver", c.request(next, accept))
			r.pod(c.pod.Addr(), bpf.PodNetnsUnknown)
			r.is("deliver", c.request(next, 0))
		}
	})
}
