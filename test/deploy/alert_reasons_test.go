package deploy

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// ofSite are the reasons of VIPs for which PenstockVIPDown wakes somebody: what the site, its nodes and its
// network do, and no Service.
var ofSite = []string{
	"NotSynced", "NotInKernel", "NoInterface", "AnnounceFailed", "NoPeers", "NoSession", "Refused", "ForwardingOff", "RepliesNotSeen",
	"Draining", "NodeDrained", "NodeExcluded", "NodesSilent",
}

// ofNone are reasons that no VIP has while it is not announced: they are those of Services, addresses, ports
// and backends, or of what is in force.
var ofNone = []string{
	"Announceable", "WarmingUp", "TerminatingOnly", "AddressClaimed", "ClientAddressHidden", "HintsIgnored", "OtherAdvertisement", "OutsidePools",
	"NotLoadBalancer", "OtherClass", "Deleted", "Headless", "SourceRanges", "NoAddress", "AddressPending", "NoPorts", "TooManyPorts",
	"UnsupportedAffinity", "InvalidAnnotation", "InvalidAddress", "AddressIsNode", "AddressIsPeer", "AddressIsEndpoint",
	"OutsideVIPs", "ExternalIPRefused", "FrontendTaken", "UnsupportedProtocol", "InvalidPort", "UnsupportedSlice", "InvalidEndpoint",
	"AskedFor", "FailOpen", "SourceProblem", "Answering", "NodeDead", "NeverAnswered", "NotIngressNode", "NodeUnknown", "OtherTunnelPort", "OwnNode", "NoTunnelAddress", "OtherZone",
}

// TestAlertReasons: each reason of a VIP is for one of the two alerts, or wanted: a new one has to be thought about.
func TestAlertReasons(t *testing.T) {
	exprs := map[string]string{}
	for _, a := range alerts(t) {
		exprs[a.Alert] = a.Expr
	}
	list := regexp.MustCompile(`reason=~"([^"]+)"`).FindStringSubmatch(exprs["PenstockVIPUnserved"])
	if list == nil {
		t.Fatalf("PenstockVIPUnserved lists no reasons: %s", exprs["PenstockVIPUnserved"])
	}
	ofServices, others := strings.Split(list[1], "|"), `reason!~"NotAdvertised|`+list[1]+`"`
	for _, name := range []string{"PenstockVIPDown", "PenstockVIPUnserved"} {
		if !strings.Contains(exprs[name], others) {
			t.Errorf("%s does not leave to Services what PenstockVIPUnserved does, %s: %s", name, others, exprs[name])
		}
	}
	classes := [][]string{{"NotAdvertised"}, ofServices, ofSite, ofNone}
	all := labelValues(t)["penstock_vip_announced reason"]
	for _, reason := range all {
		in := 0
		for _, class := range classes {
			if slices.Contains(class, reason) {
				in++
			}
		}
		if in != 1 {
			t.Errorf("reason %s is in %d classes: who is to hear of a VIP that has it?", reason, in)
		}
	}
	for _, reason := range slices.Concat(classes...) {
		if !slices.Contains(all, reason) {
			t.Errorf("there is no reason %s", reason)
		}
	}
}
