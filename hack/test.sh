#!/usr/bin/env bash
# Every test. The race detector watches all but bpf, hack and test, whose time goes into the kernel
# and into other processes.
set -euo pipefail
cd "$(dirname "$0")/.."

go test -timeout 20m ./bpf/... ./hack/... ./test/...
go list ./... | grep -vE '/(bpf|hack|test)(/|$)' | xargs go test -race -timeout 20m
