#!/usr/bin/env bash
# Every test. The race detector watches all but bpf, hack and test, whose time goes into the kernel
# and into other processes; nor may their results be cached, which would not see those.
set -euo pipefail
cd "$(dirname "$0")/.."

hack/kubetest.sh >/dev/null # outside of go test's time limit
go test -count=1 -timeout 20m ./bpf/... ./hack/... ./test/...
go list ./... | grep -vE '/(bpf|hack|test)(/|$)' | xargs go test -race -timeout 20m
