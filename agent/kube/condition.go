package kube

import (
	"fmt"
	"net/netip"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/ipam"
)

// maxMessage is what a message is cut to, in bytes. Events take 1024.
const maxMessage = 1000

// condition says what a decision comes to. Its message begins with the addresses that we
// wrote, which [written] reads: it is how a Service that stops being ours is known to
// carry our addresses, and not another implementation's.
func condition(d ipam.Decision) metav1.Condition {
	c := metav1.Condition{Type: desired.AllocatedCondition, Status: metav1.ConditionTrue, Reason: string(ipam.Allocated)}
	var parts []string
	if len(d.Addresses) > 0 {
		parts = append(parts, addressList(d))
	}
	if len(d.SharedWith) > 0 {
		c.Reason = string(ipam.Shared)
		parts = append(parts, "shared with "+company(d))
	}
	if len(d.Refused) > 0 || len(d.Addresses) == 0 {
		c.Status, c.Reason = metav1.ConditionFalse, string(ipam.NoPool)
	}
	for i, f := range d.Refused {
		if i == 0 {
			c.Reason = string(f.Reason)
		}
		parts = append(parts, sentence(f))
	}
	for _, f := range d.Warnings {
		parts = append(parts, sentence(f))
	}
	c.Message = cut(strings.Join(parts, "; "), maxMessage)
	return c
}

// company names those that a decision does. How many there are beside is not said: each
// one that comes would change it for all.
func company(d ipam.Decision) string {
	if d.SharedMore {
		return strings.Join(d.SharedWith, ", ") + " and others"
	}
	return join(d.SharedWith)
}

// addressList names addresses with their pools, as in "192.0.2.1 (pool public)".
func addressList(d ipam.Decision) string {
	var out []string
	for i, a := range d.Addresses {
		pool := "no pool"
		if i < len(d.Pools) && d.Pools[i] != "" {
			pool = "pool " + d.Pools[i]
		}
		out = append(out, fmt.Sprintf("%s (%s)", a, pool))
	}
	return strings.Join(out, " and ")
}

// written gives the addresses that a condition of ours says that we wrote.
func written(c *metav1.Condition) (out []netip.Addr) {
	if c == nil {
		return nil
	}
	list, _, _ := strings.Cut(c.Message, "; ")
	for part := range strings.SplitSeq(list, " and ") {
		text, rest, _ := strings.Cut(part, " ")
		a, err := netip.ParseAddr(text)
		if err != nil || !strings.HasPrefix(rest, "(") {
			return out
		}
		out = append(out, a)
	}
	return out
}

// sentence is a finding with the field that it is of, if the message does not name it.
func sentence(f ipam.Finding) string {
	if f.Field == "" || strings.Contains(f.Message, f.Field) {
		return f.Message
	}
	return f.Field + ": " + f.Message
}

// abridge names the first most of a list, and how many there are beside.
func abridge(names []string, most int) string {
	if len(names) <= most {
		return join(names)
	}
	return fmt.Sprintf("%s and %d others", strings.Join(names[:most], ", "), len(names)-most)
}

// join names all of a list: "a", "a and b", "a, b and c".
func join(names []string) string {
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return strings.Join(names, "")
}

// cut shortens text to at most size bytes, between runes.
func cut(text string, size int) string {
	if len(text) <= size {
		return text
	}
	return strings.ToValidUTF8(text[:size-len("…")], "") + "…"
}

// findCondition gives ours, nil if there is none.
func findCondition(all []metav1.Condition) *metav1.Condition {
	for i := range all {
		if all[i].Type == desired.AllocatedCondition {
			return &all[i]
		}
	}
	return nil
}

// sameCondition ignores since when.
func sameCondition(a *metav1.Condition, b metav1.Condition) bool {
	return a != nil && a.Status == b.Status && a.Reason == b.Reason && a.Message == b.Message
}
