package main

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseAnswer(t *testing.T) {
	for _, c := range []struct {
		text string
		want answer
	}{
		{"server=pod1 host=shop.example client=192.0.2.2 port=1234\n", answer{"pod1", netip.MustParseAddrPort("192.0.2.2:1234")}},
		{"server=pod1 host=shop.example client=2001:db8:1::2 port=1234\n", answer{"pod1", netip.MustParseAddrPort("[2001:db8:1::2]:1234")}},
		{"server=pod1 host=blog.example client=192.0.2.2 port=1234\n", answer{}},
		{"server=pod1 host=shop.example client=nobody port=1234\n", answer{}},
		{"<html>", answer{}},
	} {
		got, err := parseAnswer(strings.NewReader(c.text), "shop.example")
		bad := c.want == (answer{})
		switch {
		case bad && err == nil:
			t.Errorf("%q is taken for %v", c.text, got)
		case !bad && (err != nil || got != c.want):
			t.Errorf("%q is %v, %v, want %v", c.text, got, err, c.want)
		}
	}
}

func TestParseWrk(t *testing.T) {
	const good = `Running 1s test @ http://192.0.2.1:80/
  1 threads and 2 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.49ms   77.15us   4.71ms   99.40%
    Req/Sec     1.34k    19.90     1.38k    70.00%
  1336 requests in 1.00s, 214.40KB read
`
	const rate = "Requests/sec:   1334.92\nTransfer/sec:    214.23KB\n"
	for _, c := range []struct {
		name, report string
		want         wrkResult
		bad          bool
	}{
		{"no failures", good + rate, wrkResult{1336, 0, 1334.92}, false},
		{
			"failures", good + "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 5\n" + rate,
			wrkResult{1336, 15, 1334.92}, false,
		},
		{"nothing", "unable to connect to 192.0.2.1:80 Connection refused\n", wrkResult{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseWrk(c.report)
			if got != c.want || (err != nil) != c.bad {
				t.Errorf("parseWrk = %+v, %v; want %+v, an error: %v", got, err, c.want, c.bad)
			}
		})
	}
}
