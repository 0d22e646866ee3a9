{{/* A node of the Ray cluster; takes the root context, the group's values and the port that its probes try. */}}
{{- define "lipsync.rayPod" -}}
{{- $root := .root -}}
{{- $ray := .root.Values.ray -}}
metadata:
  labels:
    {{- include "lipsync.partSelector" (dict "root" $root "part" "ray") | nindent 4 }}
spec:
  {{- include "lipsync.clientPod" $root | nindent 2 }}
  {{- with .group.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .group.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: ray
      image: {{ include "lipsync.image" (dict "root" $root "image" $ray.image) | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      env:
        # Ray runs the code of anyone who reaches it.
        - { name: RAY_AUTH_MODE, value: token }
        - name: RAY_AUTH_TOKEN
          valueFrom: { secretKeyRef: { name: {{ $ray.tokenSecret }}, key: auth_token } }
        - { name: RAY_USAGE_STATS_ENABLED, value: "0" }
        - { name: HOME, value: /tmp }
      {{- with $ray.s3Secret }}
      {{- include "lipsync.storageEnvironment" . | nindent 6 }}
      {{- end }}
      ports: [{ name: ray, containerPort: {{ .port }} }]
      securityContext:
        {{- include "lipsync.containerSecurity" $root | nindent 8 }}
      resources:
        {{- toYaml .group.resources | nindent 8 }}
      # KubeRay's own would ask the dashboard, with wget.
      readinessProbe:
        tcpSocket: { port: ray }
        periodSeconds: 5
        failureThreshold: 12
      livenessProbe:
        tcpSocket: { port: ray }
        initialDelaySeconds: 60
        periodSeconds: 10
        failureThreshold: 12
      volumeMounts:
        - { name: tmp, mountPath: /tmp }
        {{- if $ray.existingClaim }}
        - { name: media, mountPath: /media }
        {{- end }}
        {{- if $root.Values.models.existingClaim }}
        - { name: models, mountPath: /models, readOnly: true }
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {}
    {{- with $ray.existingClaim }}
    - name: media
      persistentVolumeClaim: { claimName: {{ . }} }
    {{- end }}
    {{- with $root.Values.models.existingClaim }}
    - name: models
      persistentVolumeClaim: { claimName: {{ . }}, readOnly: true }
    {{- end }}
{{- end }}

{{/* The cluster's description, in a RayCluster or a RayJob. */}}
{{- define "lipsync.rayClusterSpec" -}}
{{- with .Values.ray -}}
rayVersion: {{ .version | quote }}
authOptions: { mode: token, secretName: {{ .tokenSecret }} }
headGroupSpec:
  rayStartParams:
    num-cpus: "0" # jobs run on the workers
    # KubeRay sends the batch to a RayJob's dashboard, which asks for the token.
    include-dashboard: {{ ternary "true" "false" (not (empty .jobsFile)) | quote }}
    dashboard-host: {{ ternary "0.0.0.0" "127.0.0.1" (not (empty .jobsFile)) }}
  template:
    {{- include "lipsync.rayPod" (dict "root" $ "group" .head "port" 6379) | nindent 4 }}
workerGroupSpecs:
  - groupName: workers
    replicas: {{ .workers.replicas }}
    minReplicas: {{ .workers.replicas }}
    maxReplicas: {{ .workers.replicas }}
    rayStartParams:
      node-manager-port: "6380" # which the probes try
    template:
      {{- include "lipsync.rayPod" (dict "root" $ "group" .workers "port" 6380) | nindent 6 }}
{{- end }}
{{- end }}
