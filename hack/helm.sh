#!/usr/bin/env bash
# Builds Helm, unless that is done, and prints where it is. Only what hack/helm/go.mod names counts:
# a cold build takes minutes, so it is not for the time limit of go test.
set -euo pipefail
cd "$(dirname "$0")/.."

source=hack/helm
version=$(sed -n 's/^\thelm.sh\/helm\/v4 v\([0-9.]*\).*$/\1/p' "$source/go.mod")
key=$(cat "$source"/{go.mod,go.sum} | sha256sum | cut -c 1-12)
out=$PWD/bin/helm/$key

mkdir -p bin/helm
exec 9>bin/helm/lock
flock 9 # go test runs packages side by side
if [ ! -x "$out/helm" ]; then
  echo "helm: building Helm $version; the first time this takes minutes" >&2
  find bin/helm -mindepth 1 -maxdepth 1 -type d -exec rm -rf {} +
  mkdir "$out"
  GOWORK=off GOFLAGS=-buildvcs=false CGO_ENABLED=0 go build -C "$source" -trimpath -o "$out/" \
    -ldflags "-s -w -X helm.sh/helm/v4/internal/version.version=v$version" helm.sh/helm/v4/cmd/helm >&2
  echo "helm: built" >&2
fi
echo "$out/helm"
