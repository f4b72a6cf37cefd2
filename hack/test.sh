#!/usr/bin/env bash
# Every test. The race detector watches all but bpf and test, whose time goes into the kernel
# and into other processes.
set -euo pipefail
cd "$(dirname "$0")/.."

go test -timeout 20m ./bpf/... ./test/...
go list ./... | grep -vE '/(bpf|test)(/|$)' | xargs go test -race -timeout 20m
