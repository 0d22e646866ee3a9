{{- define "lipsync.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}-triton
{{- end }}

{{- define "lipsync.webName" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}-web
{{- end }}

{{- define "lipsync.selector" -}}
app.kubernetes.io/name: lipsync-triton
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "lipsync.webSelector" -}}
app.kubernetes.io/name: lipsync-web
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of a part beside Triton and the page; takes the root context and the part's name. */}}
{{- define "lipsync.partSelector" -}}
app.kubernetes.io/name: lipsync-{{ .part }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "lipsync.labels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* An image's full name; takes the root context and the image's values. */}}
{{- define "lipsync.image" -}}
{{- $registry := required "registry: expected where your images are, such as registry.example.org/lips, got none" .root.Values.registry -}}
{{ trimSuffix "/" $registry }}/{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{/* How an upgrade replaces servers. */}}
{{- define "lipsync.rollingUpdate" -}}
{{- $count := ternary .Values.autoscaling.minReplicas .Values.replicas .Values.autoscaling.enabled | int -}}
{{- $default := ternary (dict "maxSurge" 1 "maxUnavailable" 0) (dict "maxSurge" 0 "maxUnavailable" 1) (eq $count 1) -}}
{{- toYaml (.Values.rollingUpdate | default $default) }}
{{- end }}

{{/* Where names are asked for: rules of an egress policy. */}}
{{- define "lipsync.dnsEgress" -}}
- to:
    - namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: kube-system } }
    {{- with .Values.networkPolicy.dns }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports: [{ protocol: UDP, port: 53 }, { protocol: TCP, port: 53 }]
{{- end }}

{{/* Every container: what the restricted pod security standard asks for, and a file system that stays as built. */}}
{{- define "lipsync.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- define "lipsync.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{/* Where clients find all servers: gRPC's own resolver sees each ready pod behind the headless Service. */}}
{{- define "lipsync.url" -}}
dns:///{{ include "lipsync.name" . }}.{{ .Release.Namespace }}.svc:8001
{{- end }}

{{- define "lipsync.launchArguments" -}}
{{- if .Values.models.names }}
- --models
{{- range .Values.models.names }}
- {{ . | quote }}
{{- end }}
{{- end }}
- --flavour={{ .Values.models.flavour }}
{{- if .Values.tls.secretName }}
- --tls-cert=/secrets/tls/tls.crt
- --tls-key=/secrets/tls/tls.key
{{- if .Values.tls.clientCertificates }}
- --tls-client-ca=/secrets/tls/ca.crt
{{- end }}
{{- end }}
{{- if .Values.tokens.secretName }}
- --token-file=/secrets/tokens/token
{{- if .Values.tokens.operator }}
- --admin-token-file=/secrets/tokens/admin-token
{{- end }}
{{- end }}
{{- with .Values.tracing.url }}
- --trace-url={{ . }}
- --trace-every={{ $.Values.tracing.every }}
{{- end }}
- --log-verbose={{ .Values.logVerbose }}
{{- end }}

{{/* The pod of a server, for the Deployment and for KServe; takes the root context and the container's name. */}}
{{- define "lipsync.podSpec" -}}
{{- $root := .root -}}
{{- with $root.Values -}}
automountServiceAccountToken: false
securityContext:
  {{- include "lipsync.podSecurity" $root | nindent 2 }}
{{- with .imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
terminationGracePeriodSeconds: {{ .terminationGracePeriodSeconds }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "lipsync.selector" $root | nindent 8 }}
{{- if eq .models.flavour "tensorrt" }}
initContainers:
  - name: engines
    image: {{ include "lipsync.image" (dict "root" $root "image" .engines.image) | quote }}
    imagePullPolicy: {{ .image.pullPolicy }}
    args:
      - --precision={{ .engines.precision }}
      {{- with .models.names }}
      - --serving
      {{- range . }}
      - {{ . | quote }}
      {{- end }}
      {{- end }}
    securityContext:
      {{- include "lipsync.containerSecurity" $root | nindent 6 }}
    resources:
      {{- toYaml .resources | nindent 6 }}
    volumeMounts:
      - { name: tmp, mountPath: /tmp }
      - { name: engines, mountPath: /engines }
      {{- if .models.existingClaim }}
      - { name: models, mountPath: /models, readOnly: true }
      {{- end }}
{{- end }}
containers:
  - name: {{ $.container }}
    image: {{ include "lipsync.image" (dict "root" $root "image" .image) | quote }}
    imagePullPolicy: {{ .image.pullPolicy }}
    args:
      {{- include "lipsync.launchArguments" $root | trim | nindent 6 }}
    ports:
      - { name: grpc, containerPort: 8001 }
      - { name: http, containerPort: 8000 }
      - { name: metrics, containerPort: 8002 }
    securityContext:
      {{- include "lipsync.containerSecurity" $root | nindent 6 }}
    resources:
      {{- toYaml .resources | nindent 6 }}
    # Ready means that all models are loaded. HTTP answers nothing but health.
    startupProbe: # an hour, for a flavour that compiles at its first start
      httpGet: { path: /v2/health/ready, port: http }
      periodSeconds: 5
      failureThreshold: 720
    readinessProbe:
      httpGet: { path: /v2/health/ready, port: http }
      periodSeconds: 5
      timeoutSeconds: 5
    livenessProbe:
      httpGet: { path: /v2/health/live, port: http }
      periodSeconds: 10
      timeoutSeconds: 10
      failureThreshold: 6
    lifecycle:
      preStop: # until clients have heard that this server goes
        exec: { command: [sleep, "10"] }
    volumeMounts:
      - { name: tmp, mountPath: /tmp }
      - { name: shared-memory, mountPath: /dev/shm }
      {{- if ne .models.flavour "cpu" }}
      - { name: engines, mountPath: /engines{{ if eq .models.flavour "tensorrt" }}, readOnly: true{{ end }} }
      {{- end }}
      {{- if .models.existingClaim }}
      - { name: models, mountPath: /models, readOnly: true }
      {{- end }}
      {{- if .tls.secretName }}
      - { name: tls, mountPath: /secrets/tls, readOnly: true }
      {{- end }}
      {{- if .tokens.secretName }}
      - { name: tokens, mountPath: /secrets/tokens, readOnly: true }
      {{- end }}
volumes:
  - name: tmp
    emptyDir: {}
  - name: shared-memory
    emptyDir: { medium: Memory, sizeLimit: {{ .sharedMemory }} }
  {{- if ne .models.flavour "cpu" }}
  - name: engines
    {{- if .engines.existingClaim }}
    persistentVolumeClaim: { claimName: {{ .engines.existingClaim }} }
    {{- else }}
    emptyDir: { sizeLimit: {{ .engines.sizeLimit }} }
    {{- end }}
  {{- end }}
  {{- if .models.existingClaim }}
  - name: models
    persistentVolumeClaim: { claimName: {{ .models.existingClaim }}, readOnly: true }
  {{- end }}
  {{- if .tls.secretName }}
  - name: tls
    secret: { secretName: {{ .tls.secretName }}, defaultMode: 0440 }
  {{- end }}
  {{- if .tokens.secretName }}
  - name: tokens
    secret: { secretName: {{ .tokens.secretName }}, defaultMode: 0440 }
  {{- end }}
{{- end }}
{{- end }}
