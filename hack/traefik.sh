#!/usr/bin/env bash
# Builds Traefik, the L7 tier of the tests on real nodes, unless that is done, and prints its
# directory. A cold build takes five minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=hack/once.sh
. hack/once.sh

source=test/l7

build() {
  echo "traefik: building Traefik; the first time this takes minutes"
  CGO_ENABLED=0 go build -C "$source" -o "$1/" -trimpath -ldflags '-s -w' github.com/traefik/traefik/v3/cmd/traefik
}

# shellcheck disable=SC2046 # no such name has a space
once traefik "$source"/go.{mod,sum} $(find "$source/noacme" -name '*.go' | sort)
