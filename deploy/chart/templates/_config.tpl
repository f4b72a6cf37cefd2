{{/*
penstock.config gives a role's penstock.yaml, as JSON: what the chart knows, config, and the role's own
config over it, of which config gives the keys that count for the role.
*/}}
{{- define "penstock.config" -}}
{{- $own := index .root.Values .role "config" -}}
{{- $given := dict "keys" (include (printf "penstock.keys.%s" .role) . | fromJsonArray) "from" .root.Values.config -}}
{{- $config := include "penstock.pick" $given | fromJson -}}
{{- $base := dict "role" .role "source" (dict "kind" "kubernetes") "lbNodes" .root.Values.lb.nodeLabel -}}
{{- if eq .role "lb" }}{{ $_ := set $base "datapath" (dict "seedFile" "/etc/penstock-seed/seed") }}{{ end -}}
{{- mergeOverwrite $base $config (deepCopy $own) | toJson -}}
{{- end }}

{{/* penstock.pick gives those keys, as in datapath.mode, that are there. */}}
{{- define "penstock.pick" -}}
{{- $out := dict -}}
{{- $from := .from -}}
{{- range .keys -}}
{{- $at := dict "v" $from "ok" true -}}
{{- range splitList "." . -}}
{{- if and $at.ok (kindIs "map" $at.v) (hasKey $at.v .) }}{{ $_ := set $at "v" (get $at.v .) }}{{ else }}{{ $_ := set $at "ok" false }}{{ end -}}
{{- end -}}
{{- if $at.ok -}}
{{- $leaf := $at.v -}}
{{- range reverse (splitList "." .) }}{{ $leaf = dict . $leaf }}{{ end -}}
{{- $_ := mergeOverwrite $out $leaf -}}
{{- end -}}
{{- end -}}
{{- $out | toJson -}}
{{- end }}

{{/* penstock.restarts is a sum of the keys that an agent takes at its start alone. */}}
{{- define "penstock.restarts" -}}
{{- $live := include "penstock.keys.live" . | fromJsonArray -}}
{{- $keys := list -}}
{{- range include (printf "penstock.keys.%s" .role) . | fromJsonArray -}}
{{- if not (has . $live) }}{{ $keys = append $keys . }}{{ end -}}
{{- end -}}
{{- include "penstock.pick" (dict "keys" $keys "from" .config) | sha256sum | trunc 16 -}}
{{- end }}

{{/* penstock.capabilities are those that the peers of an LB node need beyond the data path's. */}}
{{- define "penstock.capabilities" -}}
{{- $caps := list "BPF" "NET_ADMIN" "PERFMON" -}}
{{- range dig "bgp" "peers" list . -}}
{{- if and .interface (not .address) (not .gateway) }}{{ $caps = append $caps "NET_RAW" }}{{ end -}}
{{- if .passive }}{{ $caps = append $caps "NET_BIND_SERVICE" }}{{ end -}}
{{- end -}}
{{- $caps | uniq | toJson -}}
{{- end }}
