#!/usr/bin/env bash
# Builds Helm, unless that is done, and prints where it is. A cold build takes minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=hack/once.sh
. hack/once.sh

source=hack/helm
version=$(sed -n 's/^\thelm.sh\/helm\/v4 v\([0-9.]*\).*$/\1/p' "$source/go.mod")

build() {
  echo "helm: building Helm $version; the first time this takes minutes"
  CGO_ENABLED=0 go build -C "$source" -trimpath -o "$1/" \
    -ldflags "-s -w -X helm.sh/helm/v4/internal/version.version=v$version" helm.sh/helm/v4/cmd/helm
}

dir=$(once helm "$source"/go.{mod,sum})
echo "$dir/helm"
