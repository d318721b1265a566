{{- define "centre.labels" -}}
app.kubernetes.io/name: infomri
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "centre.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10003
runAsGroup: 10100
fsGroup: 10100
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "centre.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Fills in the nginx template at /etc/infomri/nginx.conf and becomes nginx. */}}
{{- define "centre.nginx" -}}
- sh
- -c
- >-
  envsubst "$(env | sed -n 's/^\(INFOMRI_[A-Z_]*\)=.*/$\1/p' | tr '\n' ' ')"
  < /etc/infomri/nginx.conf > /tmp/nginx.conf
  && exec nginx -e /tmp/error.log -c /tmp/nginx.conf -g 'daemon off;'
{{- end }}

{{- define "centre.claim" }}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ .name }}
spec:
  accessModes: [ReadWriteOnce]
  {{- with .storageClass }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests: {storage: {{ .size }}}
{{- end }}
