{{/* Says "yes" if records and files are outside the pods, so that there can be several. */}}
{{- define "lipsync.webIsStateless" -}}
{{- if and .Values.web.store.existingSecret .Values.web.media.url -}} yes {{- end -}}
{{- end }}

{{/* Stops where several pods would not see the same jobs. */}}
{{- define "lipsync.checkWeb" -}}
{{- with .Values.web -}}
{{- if not (include "lipsync.webIsStateless" $) -}}
{{- if gt (int .replicas) 1 -}}
{{- fail (printf "web.replicas: expected 1 without web.store.existingSecret and web.media.url, got %d" (int .replicas)) -}}
{{- end -}}
{{- if .workerPods.enabled -}}
{{- fail "web.workerPods: expected web.store.existingSecret and web.media.url, got none or one of them" -}}
{{- end -}}
{{- end -}}
{{- if and .media.existingSecret (not .media.url) -}}
{{- fail "web.media.existingSecret: expected web.media.url with it, got none" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "lipsync.webWorkersName" -}}
{{ include "lipsync.webName" . }}-worker
{{- end }}

{{/* The pod of the web service or of its workers; takes the root context, and whether it is a worker's. */}}
{{- define "lipsync.webPodSpec" -}}
{{- $root := .root -}}
{{- $values := .root.Values.web -}}
{{- include "lipsync.clientPod" $root }}
terminationGracePeriodSeconds: {{ add 60 (ternary $values.workerPods.drainSeconds 0 .isWorker) }}
{{- if include "lipsync.webIsStateless" $root }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- .selector | nindent 8 }}
{{- end }}
containers:
  - name: web
    image: {{ include "lipsync.image" (dict "root" $root "image" $values.image) | quote }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    args:
      {{- include "lipsync.clientArguments" $root | nindent 6 }}
      {{- if .isWorker }}
      - --worker-only
      - --drain={{ int $values.workerPods.drainSeconds }} # a pod that is scaled away finishes the jobs that it runs
      {{- end }}
      - --workers={{ ternary 0 $values.workers (and $values.workerPods.enabled (not .isWorker)) }}
      {{- with $values.media.url }}
      - --media={{ . }}
      {{- end }}
      {{- if not .isWorker }}
      - --allowed-host={{ include "lipsync.webName" $root }}
      - --allowed-host={{ include "lipsync.webName" $root }}.{{ $root.Release.Namespace }}.svc
      - --allowed-host=$(POD_IP) # by which Prometheus calls it
      {{- range $values.hosts }}
      - --allowed-host={{ . }}
      {{- end }}
      {{- end }}
      {{- with $values.extraArguments }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    env:
      {{- if not .isWorker }}
      - name: POD_IP
        valueFrom: { fieldRef: { fieldPath: status.podIP } }
      {{- with $values.tokensSecret }}
      - name: LIPSYNC_WEB_TOKENS # what people must send
        valueFrom: { secretKeyRef: { name: {{ . }}, key: LIPSYNC_WEB_TOKENS } }
      {{- end }}
      {{- end }}
      {{- if $values.store.existingSecret }}
      - name: LIPSYNC_STORE # the records' address, with its password
        valueFrom: { secretKeyRef: { name: {{ $values.store.existingSecret }}, key: {{ $values.store.key }} } }
      {{- end }}
      {{- include "lipsync.clientEnvironment" $root | trim | nindent 6 }}
    {{- with $values.media.existingSecret }}
    {{- include "lipsync.storageEnvironment" . | nindent 4 }}
    {{- end }}
    {{- if not .isWorker }}
    ports: [{ name: http, containerPort: 8080 }]
    {{- end }}
    securityContext:
      {{- include "lipsync.containerSecurity" $root | nindent 6 }}
    resources:
      {{- toYaml (ternary $values.workerPods.resources $values.resources .isWorker) | nindent 6 }}
    {{- if not .isWorker }}
    readinessProbe:
      httpGet: { path: /ready, port: http, httpHeaders: [{ name: Host, value: localhost }] }
    livenessProbe:
      httpGet: { path: /health, port: http, httpHeaders: [{ name: Host, value: localhost }] }
      failureThreshold: 6
    {{- end }}
    volumeMounts:
      {{- include "lipsync.clientMounts" $root | nindent 6 }}
      - { name: data, mountPath: /data }
volumes:
  {{- include "lipsync.clientVolumes" $root | nindent 2 }}
  - name: data
    {{- if include "lipsync.webIsStateless" $root }}
    emptyDir: { sizeLimit: {{ $values.storage.size }} } # uploads on their way, copies, and parts of running jobs
    {{- else }}
    persistentVolumeClaim: { claimName: {{ include "lipsync.webName" $root }} }
    {{- end }}
{{- end }}
