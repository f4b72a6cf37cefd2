#!/usr/bin/env bash
# Every test. The race detector watches all but bpf, hack and test, whose time goes into the kernel
# and into other processes; nor may their results be cached, which would not see those. Nor does it watch
# GoBGP, each of whose servers writes two globals when it starts, always the same.
#
# Nothing runs beside test/cluster, which fills a machine by itself (make e2e-cluster plays it in full), and
# test/churn, where no flow may break: the moments in which README's Limits let one break get longer on a
# machine that is crowded.
set -euo pipefail
cd "$(dirname "$0")/.."

real='/(bpf|hack|test)(/|$)'
# Suites that wait for timers most of their time begin first, and one runs more than there are processors.
waiting='/(test/(kube|netns)|bgp|agent/kube)$'
alone='/test/(churn|cluster)$'
jobs=$(($(nproc) + 1))

order() {
  local all
  all=$(grep -vE "$alone")
  grep -E "$waiting" <<<"$all"
  grep -vE "$waiting" <<<"$all"
}

for build in kubetest helm traefik; do "hack/$build.sh" >/dev/null; done # outside of go test's time limit
go list ./... | grep -E "$real" | order | xargs go test -p "$jobs" -count=1 -timeout 20m
go list ./... | grep -E "$alone" | xargs go test -p 1 -count=1 -short -timeout 20m
go list ./... | grep -vE "$real" | order |
  xargs go test -p "$jobs" -race '-gcflags=github.com/osrg/gobgp/v3/...=-race=false' -timeout 20m
