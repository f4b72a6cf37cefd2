#!/usr/bin/env bash
# Every check that needs no root: Go, C and shell, and generated code against its source.
set -euo pipefail
cd "$(dirname "$0")/.."

go tool -modfile=hack/tools/go.mod golangci-lint run --allow-parallel-runners
clang-format-19 --dry-run -Werror bpf/*.[ch] test/bench/*.[ch]
[ -z "$(gofmt -d test/kube/server | tee /dev/stderr)" ] # a module of its own, which golangci-lint leaves out
shellcheck -x .ci/run deploy/*.sh hack/*.sh test/kube/server/*.sh
hack/drift.sh
