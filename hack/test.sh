#!/usr/bin/env bash
# Every test. The race detector watches all but bpf, hack and test, whose time goes into the kernel
# and into other processes; nor may their results be cached, which would not see those. Nor does it watch
# GoBGP, each of whose servers writes two globals when it starts, always the same.
set -euo pipefail
cd "$(dirname "$0")/.."

hack/kubetest.sh >/dev/null # outside of go test's time limit
hack/helm.sh >/dev/null
hack/traefik.sh >/dev/null
go test -count=1 -timeout 20m ./bpf/... ./hack/... ./test/...
go list ./... | grep -vE '/(bpf|hack|test)(/|$)' |
  xargs go test -race '-gcflags=github.com/osrg/gobgp/v3/...=-race=false' -timeout 20m
