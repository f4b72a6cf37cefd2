#!/usr/bin/env bash
# Fails if the generated files in bpf/ are not what their sources generate. They are left
# regenerated, ready to be committed.
set -euo pipefail
cd "$(dirname "$0")/.."

sums() { find bpf -name '*_bpfe[lb].*' -exec sha256sum {} + | sort -k 2; }

before=$(sums)
go generate ./bpf
if ! diff <(echo "$before") <(sums); then
  echo "drift: generated files in bpf/ were stale; they are regenerated now: commit them." >&2
  exit 1
fi
