{{/* penstock.hook is what objects have in their metadata that helm makes at a certain moment, and removes. */}}
{{- define "penstock.hook" -}}
labels:
  app.kubernetes.io/name: penstock-hook
  {{- include "penstock.labels.release" .root | nindent 2 }}
annotations:
  helm.sh/hook: {{ .on }}
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
