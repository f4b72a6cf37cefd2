#!/usr/bin/env bash
# Builds the API server of the tests, which is kubelet and kube-proxy too, and its kubectl, unless that is
# done, and prints their directory. A cold build takes six minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=hack/once.sh
. hack/once.sh

source=test/kube/server
version=$(sed -n 's/^\tk8s.io\/kubernetes v\([0-9.]*\)$/\1/p' "$source/go.mod")

build() {
  local v=k8s.io/component-base/version major minor # kubectl version fails without one of its own
  IFS=. read -r major minor _ <<<"$version"
  echo "kubetest: building a Kubernetes $version API server and kubectl; the first time this takes minutes"
  go build -C "$source" -o "$1/" \
    -ldflags "-s -w -X $v.gitVersion=v$version -X $v.gitMajor=$major -X $v.gitMinor=$minor" \
    . k8s.io/kubernetes/cmd/kubectl
}

once kubetest "$source"/{go.mod,go.sum,main.go}
