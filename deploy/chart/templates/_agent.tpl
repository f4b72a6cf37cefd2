{{/* penstock.daemonSet is that of a role; lb.yaml and backend.yaml say which. */}}
{{- define "penstock.daemonSet" -}}
{{- $v := .root.Values -}}
{{- $own := index $v .role -}}
{{- $config := include "penstock.config" . | fromJson -}}
{{- $label := splitn "=" 2 $v.lb.nodeLabel -}}
{{- $caps := list "BPF" "NET_ADMIN" "PERFMON" -}}
{{- if eq .role "lb" }}{{ $caps = include "penstock.capabilities" $config | fromJsonArray }}{{ end -}}
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: penstock-{{ .role }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "penstock.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .role }}
spec:
  selector:
    matchLabels: {app.kubernetes.io/name: penstock, app.kubernetes.io/component: {{ .role }}}
  revisionHistoryLimit: {{ $v.revisionHistoryLimit }}
  minReadySeconds: {{ $own.minReadySeconds }}
  updateStrategy:
    {{- toYaml $own.updateStrategy | nindent 4 }}
  template:
    metadata:
      labels:
        {{- with $own.podLabels }}{{ toYaml . | nindent 8 }}{{ end }}
        app.kubernetes.io/name: penstock
        app.kubernetes.io/component: {{ .role }}
      annotations:
        kubectl.kubernetes.io/default-container: penstock
        penstock.dev/restarts: {{ include "penstock.restarts" (dict "role" .role "config" $config) | quote }}
        {{- with $own.podAnnotations }}{{ toYaml . | nindent 8 }}{{ end }}
    spec:
      serviceAccountName: penstock-{{ .role }}
      {{- with $v.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $v.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      hostNetwork: true
      dnsPolicy: ClusterFirstWithHostNet
      # Its variables would be taken for mistyped ones of the configuration.
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ $own.terminationGracePeriodSeconds }}
      {{- if eq .role "lb" }}
      nodeSelector:
        {{ $label._0 }}: {{ $label._1 | quote }}
        {{- with $own.nodeSelector }}{{ toYaml . | nindent 8 }}{{ end }}
      {{- else }}
      {{- with $own.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      affinity:
        nodeAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            nodeSelectorTerms:
            - matchExpressions:
              - {key: {{ $label._0 }}, operator: NotIn, values: [{{ $label._1 | quote }}]}
      {{- end }}
      {{- with $own.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        seccompProfile: {type: RuntimeDefault}
      containers:
      - name: penstock
        image: {{ include "penstock.image" .root }}
        imagePullPolicy: {{ $v.image.pullPolicy }}
        args: [agent]
        env:
        - {name: PENSTOCK_NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
        - {name: PENSTOCK_SOURCE_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
        - {name: PENSTOCK_SOURCE_DAEMONSET, value: penstock-{{ .role }}}
        ports:
        - {name: metrics, containerPort: {{ include "penstock.port" $config }}, protocol: TCP}
        # Its start reads the objects, for which it waits 10 s where the API server is away.
        startupProbe:
          {{- include "penstock.probe" (dict "path" "/healthz" "config" $config) | nindent 10 }}
          periodSeconds: 2
          timeoutSeconds: 2
          failureThreshold: 60
        # The loop makes progress. A restart disturbs no flow, and heals what hangs.
        livenessProbe:
          {{- include "penstock.probe" (dict "path" "/healthz" "config" $config) | nindent 10 }}
          periodSeconds: 10
          timeoutSeconds: 5
          failureThreshold: 6
        # It does its work. An update stops at a node that does not.
        readinessProbe:
          {{- include "penstock.probe" (dict "path" "/readyz" "config" $config) | nindent 10 }}
          periodSeconds: 3
          timeoutSeconds: 2
          failureThreshold: 2
        {{- with $own.resources }}
        resources:
          {{- toYaml . | nindent 10 }}
        {{- end }}
        terminationMessagePolicy: FallbackToLogsOnError
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities: {drop: [ALL], add: [{{ join ", " $caps }}]}
        volumeMounts:
        - {name: config, mountPath: /etc/penstock, readOnly: true}
        {{- if eq .role "lb" }}
        - {name: seed, mountPath: /etc/penstock-seed, readOnly: true}
        - {name: passwords, mountPath: /etc/penstock-passwords, readOnly: true}
        {{- end }}
        - {name: bpffs, mountPath: /sys/fs/bpf}
        - {name: run, mountPath: /run/penstock}
      volumes:
      - name: config
        configMap: {name: penstock-{{ .role }}}
      {{- if eq .role "lb" }}
      - name: seed
        secret: {secretName: {{ include "penstock.seedSecret" .root }}, defaultMode: 0o400}
      - name: passwords # there or not, so that the first one needs no new pods
        secret: {secretName: {{ include "penstock.passwordsSecret" .root }}, defaultMode: 0o400, optional: true}
      {{- end }}
      # What is pinned, and what the agent remembers, outlasts the pod: so the next one goes on.
      - name: bpffs
        hostPath: {path: /sys/fs/bpf, type: Directory}
      - name: run
        hostPath: {path: /run/penstock, type: DirectoryOrCreate}
{{- end }}

{{- define "penstock.probe" -}}
httpGet: {path: {{ .path }}, port: metrics
{{- with include "penstock.probeHost" .config }}, host: {{ . | quote }}{{ end }}}
{{- end }}
