{{/*
penstock.check refuses values that contradict each other, each with a sentence. What is wrong by itself,
values.schema.json refuses.
*/}}
{{- define "penstock.check" -}}
{{- $v := .Values -}}
{{- range $where, $config := dict "config" $v.config "lb.config" $v.lb.config "backend.config" $v.backend.config -}}
{{- include "penstock.check.owned" (dict "where" $where "config" $config) -}}
{{- end -}}
{{- include "penstock.check.role" (dict "root" $ "role" "lb") -}}
{{- if $v.backend.enabled }}{{ include "penstock.check.role" (dict "root" $ "role" "backend") }}{{ end -}}
{{- include "penstock.check.label" . -}}
{{- $lb := include "penstock.config" (dict "root" $ "role" "lb") | fromJson -}}
{{- include "penstock.check.bgp" (dict "config" $lb "passwords" $v.bgpPasswords) -}}
{{- include "penstock.check.names" (dict "what" "pools" "entries" (dig "pools" list $lb)) -}}
{{- if and (not $v.backend.enabled) (eq (dig "forwarding" "auto" $lb) "dsr") -}}
{{- fail "config.forwarding is dsr but backend.enabled is false: no node could take packets out of tunnels. Set backend.enabled: true, or forwarding: auto." -}}
{{- end -}}
{{- if and $v.backend.enabled -}}
{{- $backend := include "penstock.config" (dict "root" $ "role" "backend") | fromJson -}}
{{- if ne (dig "tunnel" "port" 6082 $lb | int) (dig "tunnel" "port" 6082 $backend | int) -}}
{{- fail "tunnel.port of lb.config and backend.config differ: tunnels have one port on all nodes. Set it in config." -}}
{{- end -}}
{{- end -}}
{{- if and $v.seed.value $v.seed.existingSecret -}}
{{- fail "seed.value and seed.existingSecret are both set. Keep one of them." -}}
{{- end -}}
{{- if and $v.bgpPasswords.values $v.bgpPasswords.existingSecret -}}
{{- fail "bgpPasswords.values and bgpPasswords.existingSecret are both set. Keep one of them." -}}
{{- end -}}
{{- if and $v.metrics.serviceMonitor.enabled $v.metrics.podMonitor.enabled -}}
{{- fail "metrics.serviceMonitor and metrics.podMonitor are both enabled: each sample would be there twice. Keep one of them." -}}
{{- end -}}
{{- if and $v.metrics.serviceMonitor.enabled (not $v.metrics.service.enabled) -}}
{{- fail "metrics.serviceMonitor is enabled but metrics.service is not, whose endpoints it takes. Enable that, or take metrics.podMonitor." -}}
{{- end -}}
{{- end }}

{{/*
Another label takes the pods off all Nodes that lack it, at once and not one after the other: one that no
Node has yet would end all traffic.
*/}}
{{- define "penstock.check.label" -}}
{{- $label := splitn "=" 2 .Values.lb.nodeLabel -}}
{{- $there := lookup "apps/v1" "DaemonSet" .Release.Namespace "penstock-lb" -}}
{{- $serving := dig "status" "desiredNumberScheduled" 0 $there | int -}}
{{- $has := list -}}
{{- if and $serving (ne (dig "spec" "template" "spec" "nodeSelector" $label._0 "(none)" $there) $label._1) -}}
{{- range (lookup "v1" "Node" "" "").items -}}
{{- if eq (dig "metadata" "labels" $label._0 "(none)" .) $label._1 }}{{ $has = append $has .metadata.name }}{{ end -}}
{{- end -}}
{{- if not $has -}}
{{- fail (printf "lb.nodeLabel is %s now, which no Node has, and %d LB nodes serve by another one: all of them would drain at once. Label them first, `kubectl label node NODE %s`; each of them that has both labels goes on." .Values.lb.nodeLabel $serving .Values.lb.nodeLabel) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Keys that the chart sets, or that mean nothing in a pod, are refused. */}}
{{- define "penstock.check.owned" -}}
{{- $owned := dict
  "role" "config counts for both roles, lb.config for LB nodes and backend.config for ingress nodes"
  "node" "it is the name of each pod's Node"
  "lbNodes" "it is lb.nodeLabel, by which the pods are placed"
  "source.kind" "agents in a cluster take their objects from its API server"
  "source.directory" "agents in a cluster take their objects from its API server"
  "source.kubeconfig" "pods log in by their ServiceAccounts"
  "source.namespace" "it is the release's namespace"
  "source.daemonSet" "it is the DaemonSet of the agent's role"
  "datapath.seed" "a ConfigMap is no place for a secret; set seed.value or seed.existingSecret"
  "datapath.seedFile" "set seed.value or seed.existingSecret"
  "datapath.compile" "the image has no compiler"
  "datapath.clang" "the image has no compiler"
  "datapath.sources" "the image has no compiler" -}}
{{- $where := .where -}}
{{- $found := include "penstock.pick" (dict "keys" (keys $owned | sortAlpha) "from" .config) | fromJson -}}
{{- range $key, $why := $owned -}}
{{- if include "penstock.has" (dict "key" $key "from" $found) -}}
{{- fail (printf "%s.%s can't be set: %s. Remove it." $where $key $why) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* penstock.has gives a text where the key, as in datapath.mode, is there. */}}
{{- define "penstock.has" -}}
{{- if ne (include "penstock.pick" (dict "keys" (list .key) "from" .from)) "{}" }}yes{{ end -}}
{{- end }}

{{- define "penstock.check.role" -}}
{{- $own := index .root.Values .role -}}
{{- $config := include "penstock.config" . | fromJson -}}
{{- $counting := include "penstock.pick" (dict "keys" (include (printf "penstock.keys.%s" .role) . | fromJsonArray) "from" $own.config) | fromJson -}}
{{- include "penstock.check.counts" (dict "where" (printf "%s.config" .role) "given" $own.config "counting" $counting) -}}
{{- $least := add (include "penstock.seconds" (dig "drainTimeout" "10s" $config) | int) 30 -}}
{{- if eq .role "backend" }}{{ $least = add $least 15 }}{{ end -}}
{{- if and (ne (dig "shutdown" "drain" $config) "restart") (lt (int $own.terminationGracePeriodSeconds) (int $least)) -}}
{{- fail (printf "%s.terminationGracePeriodSeconds is %d, and LB nodes drain for up to %v (drainTimeout), with what comes after that %d s: kubelets would end it in the middle. Set at least that." .role (int $own.terminationGracePeriodSeconds) (dig "drainTimeout" "10s" $config) $least) -}}
{{- end -}}
{{- if and .root.Values.uninstall.hook (lt (include "penstock.seconds" .root.Values.uninstall.timeout | int) (int $own.terminationGracePeriodSeconds)) -}}
{{- fail (printf "uninstall.timeout is %s, and pods have %d s to end (%s.terminationGracePeriodSeconds): it would give up before they have. Set more, and more than twice that for helm uninstall --timeout." .root.Values.uninstall.timeout (int $own.terminationGracePeriodSeconds) .role) -}}
{{- end -}}
{{- if not (has (dig "rollingUpdate" "maxSurge" 0 $own.updateStrategy | toString) (list "0" "0%")) -}}
{{- fail (printf "%s.updateStrategy has a maxSurge: two agents can't run on one node, so that the update would stop at the first. Remove it." .role) -}}
{{- end -}}
{{- $metrics := dig "metrics" "address" ":9470" $config -}}
{{- if not (regexMatch "^(\\[[0-9A-Fa-f:]+\\]|[0-9.]*|localhost):[0-9]+$" $metrics) -}}
{{- fail (printf "metrics.address of role %s is %q: the probes need an address and a port, as in :9470 or 127.0.0.1:9470." .role $metrics) -}}
{{- end -}}
{{- range $key, $dir := dict "datapath.bpffs" "/sys/fs/bpf" "api.socket" "/run/penstock" "source.history" "/run/penstock" "source.copy" "/run/penstock" -}}
{{- $names := splitList "." $key -}}
{{- $path := dig (first $names) (last $names) "" $config -}}
{{- if and $path (not (hasPrefix (printf "%s/" $dir) (clean $path))) -}}
{{- fail (printf "%s is %s: of the node's directories the pods have %s. Write a path below it, or nothing." $key $path $dir) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Keys of a role's own config that do not count for it. */}}
{{- define "penstock.check.counts" -}}
{{- $where := .where -}}
{{- $counting := .counting -}}
{{- range $key, $value := .given -}}
{{- if not (hasKey $counting $key) -}}
{{- if not (and (kindIs "map" $value) (empty $value)) -}}
{{- fail (printf "%s.%s means nothing to this role: see `penstock config default --role`. Remove it, or move it to config." $where $key) -}}
{{- end -}}
{{- else if kindIs "map" $value -}}
{{- include "penstock.check.counts" (dict "where" (printf "%s.%s" $where $key) "given" $value "counting" (get $counting $key)) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "penstock.check.bgp" -}}
{{- $bgp := dig "bgp" dict .config -}}
{{- $peers := $bgp.peers | default list -}}
{{- $passwords := .passwords -}}
{{- if and $peers (not $bgp.asn) -}}
{{- fail "config.bgp.peers has routers but config.bgp.asn is not set: they are told which autonomous system they speak with. Set bgp.asn." -}}
{{- end -}}
{{- range $i, $p := $peers -}}
{{- with $p.passwordFile -}}
{{- if or (ne (dir (clean .)) "/etc/penstock-passwords") -}}
{{- fail (printf "config.bgp.peers[%d].passwordFile is %s: the pods have passwords in /etc/penstock-passwords, by the keys of bgpPasswords. Write /etc/penstock-passwords/KEY." $i .) -}}
{{- end -}}
{{- if and (not $passwords.existingSecret) (not (hasKey $passwords.values (base .))) -}}
{{- fail (printf "config.bgp.peers[%d].passwordFile is %s but bgpPasswords.values has no %s. Add it, or set bgpPasswords.existingSecret." $i . (base .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- include "penstock.check.names" (dict "what" "bgp.peers" "entries" $peers) -}}
{{- include "penstock.check.names" (dict "what" "bgp.advertisements" "entries" ($bgp.advertisements | default list)) -}}
{{- $peerNames := list }}{{- range $peers }}{{ $peerNames = append $peerNames (.name | default .address | default .interface | default (printf "gateway-%s" .gateway)) }}{{ end -}}
{{- $poolNames := list }}{{- range dig "pools" list .config }}{{ $poolNames = append $poolNames .name }}{{ end -}}
{{- range $a := $bgp.advertisements | default list -}}
{{- range $kind, $known := dict "peers" $peerNames "pools" $poolNames -}}
{{- $named := get $a $kind | default list -}}
{{- if kindIs "string" $named }}{{ $named = splitList "," $named }}{{ end -}}
{{- range $named -}}
{{- if not (has (trim .) $known) -}}
{{- fail (printf "config.bgp.advertisements: %s names %s of %s, which has no such name. Add it there, or remove the name." $a.name . $kind) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "penstock.check.names" -}}
{{- $seen := dict -}}
{{- $what := .what -}}
{{- range .entries -}}
{{- if .name -}}
{{- if hasKey $seen .name }}{{ fail (printf "config.%s has two of the name %s. Rename one of them." $what .name) }}{{ end -}}
{{- $_ := set $seen .name true -}}
{{- end -}}
{{- end -}}
{{- end }}
