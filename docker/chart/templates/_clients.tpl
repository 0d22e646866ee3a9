{{/* What all pods that call Triton share: the web service, its workers and batches. */}}

{{/* Arguments that name the servers and how to reach them. */}}
{{- define "lipsync.clientArguments" -}}
- --url={{ include "lipsync.url" . }}
{{- if .Values.tls.secretName }}
- --tls
- --tls-ca=/secrets/ca/ca.crt
{{- if .Values.tls.clientCertificates }}
- --tls-cert=/secrets/certificate/tls.crt
- --tls-key=/secrets/certificate/tls.key
{{- end }}
{{- end }}
{{- end }}

{{- define "lipsync.clientEnvironment" -}}
{{- with .Values.tokens.secretName }}
- name: LIPSYNC_TOKEN # what Triton asks for
  valueFrom: { secretKeyRef: { name: {{ . }}, key: token } }
{{- end }}
{{- end }}

{{- define "lipsync.clientMounts" -}}
- { name: tmp, mountPath: /tmp }
{{- if .Values.tls.secretName }}
- { name: ca, mountPath: /secrets/ca, readOnly: true }
{{- if .Values.tls.clientCertificates }}
- { name: certificate, mountPath: /secrets/certificate, readOnly: true }
{{- end }}
{{- end }}
{{- end }}

{{- define "lipsync.clientVolumes" -}}
- name: tmp
  emptyDir: {}
{{- if .Values.tls.secretName }}
- name: ca # the CA alone: the server's key is none of a client's business
  secret: { secretName: {{ .Values.tls.secretName }}, items: [{ key: ca.crt, path: ca.crt }] }
{{- if .Values.tls.clientCertificates }}
- name: certificate
  secret:
    secretName: {{ required "web.clientCertificateSecret: expected one with tls.clientCertificates, got none" .Values.web.clientCertificateSecret }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- end }}

{{/* The first lines of a client's pod. */}}
{{- define "lipsync.clientPod" -}}
automountServiceAccountToken: false
securityContext:
  {{- include "lipsync.podSecurity" . | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Keys and endpoint of S3, as AWS_ variables; takes a secret's name. */}}
{{- define "lipsync.storageEnvironment" -}}
envFrom:
  - secretRef: { name: {{ . }} }
{{- end }}

{{/* Egress to servers outside the release; takes peers (none: any) and a port. */}}
{{- define "lipsync.outsideEgress" -}}
- ports: [{ protocol: TCP, port: {{ .port }} }]
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "lipsync.tritonEgress" -}}
- to:
    - podSelector:
        matchLabels:
          {{- include "lipsync.selector" . | nindent 10 }}
  ports: [{ protocol: TCP, port: grpc }]
{{- end }}

{{/* Label by which Kueue admits a Job, RayJob or RayCluster; takes the queue's name. */}}
{{- define "lipsync.queueLabel" -}}
{{- with . }}
kueue.x-k8s.io/queue-name: {{ . }}
{{- end }}
{{- end }}
