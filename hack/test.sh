#!/usr/bin/env bash
# Every test. The race detector watches all but bpf, hack and test, whose time goes into the kernel
# and into other processes; nor may their results be cached, which would not see those. Nor does it watch
# GoBGP, each of whose servers writes two globals when it starts, always the same. test/cluster fills a
# machine by itself, so nothing runs beside it; make e2e-cluster plays it in full.
set -euo pipefail
cd "$(dirname "$0")/.."

for build in kubetest helm traefik; do "hack/$build.sh" >/dev/null; done # outside of go test's time limit
go list ./bpf/... ./hack/... ./test/... | grep -v '/test/cluster$' | xargs go test -count=1 -timeout 20m
go test -count=1 -short -timeout 20m ./test/cluster
go list ./... | grep -vE '/(bpf|hack|test)(/|$)' |
  xargs go test -race '-gcflags=github.com/osrg/gobgp/v3/...=-race=false' -timeout 20m
