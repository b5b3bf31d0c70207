{{- /* Everything bears the release's name: `helm install hatchway` makes a Deployment, a Service, a Lease … named hatchway. */ -}}
{{- define "hatchway.labels" -}}
app.kubernetes.io/name: hatchway
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "hatchway.selector" -}}
app.kubernetes.io/name: hatchway
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "hatchway.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "hatchway.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}
