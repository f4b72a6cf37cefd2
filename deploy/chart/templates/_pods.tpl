{{/* penstock.hook is what the objects of the Job before helm uninstall have in their metadata. */}}
{{- define "penstock.hook" -}}
labels:
  {{- include "penstock.labels" .root | nindent 2 }}
annotations:
  helm.sh/hook: pre-delete
  helm.sh/hook-weight: {{ .weight | quote }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* Of a pod that speaks to the API server and nothing else. */}}
{{- define "penstock.unprivileged" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "penstock.confined" -}}
terminationMessagePolicy: FallbackToLogsOnError
resources:
  requests: {cpu: 10m, memory: 64Mi}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}
