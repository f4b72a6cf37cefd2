#!/usr/bin/env bash
# Every test. The race detector watches all but bpf, hack and test, whose time goes into the kernel
# and into other processes; nor may their results be cached, which would not see those. Nor does it watch
# GoBGP, each of whose servers writes two globals when it starts, always the same. test/cluster fills a
# machine by itself, so nothing runs beside it; make e2e-cluster plays it in full.
set -euo pipefail
cd "$(dirname "$0")/.."

real='/(bpf|hack|test)(/|$)'
# Suites that wait for timers most of their time begin first, and one runs more than there are processors.
waiting='/(test/(kube|netns|churn)|bgp|agent/kube)$'
jobs=$(($(nproc) + 1))

order() {
  local all
  all=$(grep -v '/test/cluster$')
  grep -E "$waiting" <<<"$all"
  grep -vE "$waiting" <<<"$all"
}

for build in kubetest helm traefik; do "hack/$build.sh" >/dev/null; done # outside of go test's time limit
go list ./... | grep -E "$real" | order | xargs go test -p "$jobs" -count=1 -timeout 20m
go test -count=1 -short -timeout 20m ./test/cluster
go list ./... | grep -vE "$real" | order |
  xargs go test -p "$jobs" -race '-gcflags=github.com/osrg/gobgp/v3/...=-race=false' -timeout 20m
