package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/maps"
)

func (c *cli) explainVIPs(w io.Writer, e api.Explanation) error {
	if len(e.VIPs) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := newTable(w, "VIP", "ANNOUNCED", "SINCE", "PEERS", "REASON", "DETAIL")
	for _, v := range e.VIPs {
		reason, detail, since := string(v.Reason), v.Detail, ""
		if v.Announced {
			since = age(c.now(), v.Since)
			if v.Reason == desired.Announceable {
				reason, detail = "", v.How()
			}
		} else if told(e, v.Reason) {
			detail = "" // it is in the table above
		}
		t.row(v.VIP.String(), yesNo(v.Announced), since, strings.Join(peersOf(v.Peers), ", "), reason, detail)
	}
	return t.flush()
}

// told tells whether a reason is among those of the Service.
func told(e api.Explanation, r desired.Reason) bool {
	return slices.ContainsFunc(e.Reasons, func(s desired.ServiceReason) bool { return s.Reason == r })
}

// peersOf names routers with the next hop and the attributes that each was given.
func peersOf(peers []bgp.RoutePeer) []string {
	out := make([]string, len(peers))
	for i, p := range peers {
		out[i] = p.Peer + " by " + p.NextHop.String()
		if with := attributesOf(p.Attributes); with != "" {
			out[i] += " (" + with + ")"
		}
	}
	return out
}

func (c *cli) explainTables(w io.Writer, e api.Explanation) error {
	if len(e.Tables) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	header := []string{"TABLE", "FRONTENDS", "SOURCES", "ROWS", "CHAINED", "BACKENDS", "NEW FLOWS", "REASON"}
	if c.output == wide {
		header = append(header, "ROWS BY OWNERS")
	}
	t := newTable(w, header...)
	for _, table := range e.Tables {
		frontends := make([]string, len(table.Frontends))
		for i, f := range table.Frontends {
			frontends[i] = f.String()
		}
		ready, flows := 0, uint64(0)
		for _, b := range table.Backends {
			if b.State == api.BackendReady {
				ready++
			}
			flows += b.NewFlows
		}
		reason := because(table.Service)
		if told(e, table.Reason) {
			reason = string(table.Reason)
		}
		rows := number(table.Rows)
		if !table.InKernel {
			rows = "not in the kernel"
		}
		t.row(portOf(table.Name), strings.Join(frontends, ", "), sourcesOf(table.Service), rows, chained(table.Service), fmt.Sprintf("%d/%d", ready, len(table.Backends)),
			number(flows), reason, lengths(table.Service))
	}
	return t.flush()
}

// portOf is a table's name without that of the Service.
func portOf(table string) string {
	_, port, _ := strings.Cut(table, ":")
	return port
}

// sourcesOf says which clients a table serves.
func sourcesOf(t api.Service) string {
	switch {
	case !t.Restricted:
		return "any"
	case len(t.Sources) == 0:
		return "none"
	}
	texts := make([]string, len(t.Sources))
	for i, s := range t.Sources {
		texts[i] = s.String()
	}
	return list(texts)
}

func (c *cli) explainBackends(w io.Writer, e api.Explanation) error {
	header := []string{"TABLE", "BACKEND", "POD", "NODE", "WEIGHT", "ENDPOINT", "STATE", "SHARE", "MODE", "WHY"}
	if c.output == wide {
		header = append(header, "ZONE", "NEXT HOP", "PACKETS", "BYTES", "NEW FLOWS", "DETAIL")
	}
	var rows [][]string
	for _, table := range e.Tables {
		for _, b := range table.Backends {
			rows = append(rows, explainBackend(table, b))
		}
	}
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := newTable(w, header...)
	for _, r := range rows {
		t.row(r...)
	}
	return t.flush()
}

func explainBackend(table api.ExplainedTable, b api.ExplainedBackend) []string {
	var ep api.Endpoint
	words, weight, share := "", "", ""
	if b.Endpoint != nil {
		ep = *b.Endpoint
		words = ep.Words()
	}
	if b.Weight > 0 {
		weight = number(b.Weight)
	}
	if b.State == api.BackendReady {
		share = fmt.Sprintf("%.1f%%", 100*b.Share)
	}
	why := string(b.Reason)
	if b.Mode == maps.DSR && b.Dead && why == "" {
		why = string(desired.NodeDead)
	}
	return []string{
		portOf(table.Name), b.Addr.String(), ep.Pod, cmp.Or(nodeOf(b.Backend), ep.Node), weight, words, string(b.State), share, string(b.Mode), why,
		ep.Zone, nextHop(b.Backend), number(b.Packets), size(b.Bytes), number(b.NewFlows), b.Detail,
	}
}
