// Package deploy tests what brings Penstock to a cluster: the Helm chart in deploy/chart, the
// kustomize base and overlays that are made of it, the alerts, and what they say in their READMEs.
//
// Helm is the real one, built by hack/helm.sh, and so are the API server of test/kubetest and Prometheus'
// promtool. There are no kubelets: no pod runs here.
package deploy
