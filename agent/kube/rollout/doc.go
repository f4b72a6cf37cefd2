// Package rollout tells whether the agents of a cluster are what their DaemonSets want, for `penstock
// check` and so for `helm test`. It reads, and changes nothing.
package rollout
