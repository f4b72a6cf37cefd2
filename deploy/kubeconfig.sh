#!/usr/bin/env bash
# Writes a kubeconfig for the agent of one Node, with a token of its role's ServiceAccount that is
# bound to that Node, as deploy/kubernetes/admission.yaml asks for.
# Usage: deploy/kubeconfig.sh lb|backend NODE [DURATION, default 8760h] > kubeconfig
# It uses kubectl (or what KUBECTL names) and its current context.
set -euo pipefail
kubectl=${KUBECTL:-kubectl}
role=${1:-} node=${2:-} duration=${3:-8760h}
case $role in
lb | backend) ;;
*) echo "usage: $0 lb|backend NODE [DURATION]" >&2 && exit 2 ;;
esac
[ -n "$node" ] || { echo "usage: $0 lb|backend NODE [DURATION]" >&2 && exit 2; }

token=$("$kubectl" create token "penstock-$role" -n penstock-system --duration "$duration" \
  --bound-object-kind Node --bound-object-name "$node")
server=$("$kubectl" config view --minify --raw -o 'jsonpath={.clusters[0].cluster.server}')
ca=$("$kubectl" config view --minify --raw --flatten -o 'jsonpath={.clusters[0].cluster.certificate-authority-data}')
cat <<YAML
apiVersion: v1
kind: Config
clusters: [{name: cluster, cluster: {server: "$server", certificate-authority-data: "$ca"}}]
users: [{name: penstock-$role, user: {token: "$token"}}]
contexts: [{name: penstock, context: {cluster: cluster, user: penstock-$role}}]
current-context: penstock
YAML
