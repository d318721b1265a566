{{- define "site.podSecurity" -}}
runAsNonRoot: true
runAsGroup: 10100
fsGroup: 10100
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "site.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "site.labels" -}}
app.kubernetes.io/name: infomri
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "site.probe" -}}
exec:
  command: [infomri-client, status, --config, /etc/infomri/site.toml]
periodSeconds: 30
timeoutSeconds: 15
failureThreshold: 4
{{- end }}
