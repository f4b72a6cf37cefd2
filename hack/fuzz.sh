#!/usr/bin/env bash
# Runs every fuzzer for a while, one after the other. Usage: hack/fuzz.sh DURATION
set -euo pipefail
cd "$(dirname "$0")/.."

grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sort | while IFS=: read -r file func; do
  go test -run '^$' -fuzz "^${func#func }\$" -fuzztime "$1" -fuzzminimizetime 10x "./$(dirname "$file")" </dev/null
done
