{{- define "penstock.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* What all objects have; what selects pods is their name and component alone. */}}
{{- define "penstock.labels" -}}
app.kubernetes.io/name: penstock
{{ include "penstock.labels.release" . }}
{{- end }}

{{- define "penstock.labels.release" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "penstock.seedSecret" -}}
{{ .Values.seed.existingSecret | default "penstock-seed" }}
{{- end }}

{{- define "penstock.passwordsSecret" -}}
{{ .Values.bgpPasswords.existingSecret | default "penstock-bgp-passwords" }}
{{- end }}

{{/* Port of the metrics and the probes, and the host that the probes need where it is loopback. */}}
{{- define "penstock.port" -}}
{{ regexFind "[0-9]+$" (dig "metrics" "address" ":9470" .) }}
{{- end }}
{{- define "penstock.probeHost" -}}
{{- $host := regexReplaceAll ":[0-9]+$" (dig "metrics" "address" ":9470" .) "" | trimPrefix "[" | trimSuffix "]" -}}
{{- if regexMatch "^(localhost|::1|127\\.[0-9.]+)$" $host }}{{ $host }}{{ end -}}
{{- end }}

{{/* Seconds of a duration, as in 1m30s, rounded up. */}}
{{- define "penstock.seconds" -}}
{{- $sum := 0.0 -}}
{{- $units := dict "h" 3600.0 "m" 60.0 "s" 1.0 "ms" 0.001 "us" 0.0 "µs" 0.0 "ns" 0.0 -}}
{{- range regexFindAll "[0-9.]+[a-zµ]+" (toString .) -1 -}}
{{- $sum = addf $sum (mulf (regexFind "^[0-9.]+" . | float64) (get $units (regexFind "[a-zµ]+$" .))) -}}
{{- end -}}
{{ ceil $sum | int }}
{{- end }}
