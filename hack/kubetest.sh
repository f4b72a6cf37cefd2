#!/usr/bin/env bash
# Builds the API server of the tests and its kubectl, unless that is done, and prints their directory.
# Only what test/kube/server/go.mod names counts: a cold build takes six minutes on two cores, so it
# is not for the time limit of go test.
set -euo pipefail
cd "$(dirname "$0")/.."

source=test/kube/server
version=$(sed -n 's/^\tk8s.io\/kubernetes v\([0-9.]*\)$/\1/p' "$source/go.mod")
key=$(cat "$source"/{go.mod,go.sum,main.go} | sha256sum | cut -c 1-12)
out=$PWD/bin/kubetest/$key

mkdir -p bin/kubetest
exec 9>bin/kubetest/lock
flock 9 # go test runs packages side by side
if [ ! -x "$out/server" ] || [ ! -x "$out/kubectl" ]; then
  echo "kubetest: building a Kubernetes $version API server and kubectl; the first time this takes minutes" >&2
  find bin/kubetest -mindepth 1 -maxdepth 1 -type d -exec rm -rf {} +
  mkdir "$out"
  # kubectl version fails without a version of its own.
  v=k8s.io/component-base/version
  IFS=. read -r major minor _ <<<"$version"
  GOWORK=off GOFLAGS=-buildvcs=false go build -C "$source" -o "$out/" \
    -ldflags "-s -w -X $v.gitVersion=v$version -X $v.gitMajor=$major -X $v.gitMinor=$minor" \
    . k8s.io/kubernetes/cmd/kubectl >&2
  echo "kubetest: built" >&2
fi
echo "$out"
