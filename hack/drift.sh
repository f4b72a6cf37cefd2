#!/usr/bin/env bash
# Fails if the generated files are not what their sources generate. They are left
# regenerated, ready to be committed.
set -euo pipefail
cd "$(dirname "$0")/.."

sums() { find bpf test/bench -name '*_bpfe[lb].*' -exec sha256sum {} + | sort -k 2; }

before=$(sums)
go generate ./bpf ./test/bench
if ! diff <(echo "$before") <(sums); then
  echo "drift: generated files were stale; they are regenerated now: commit them." >&2
  exit 1
fi
