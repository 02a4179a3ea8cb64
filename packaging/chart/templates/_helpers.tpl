{{- define "airferry.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "airferry.selector" -}}
app.kubernetes.io/name: airferry
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "airferry.labels" -}}
{{ include "airferry.selector" . }}
app.kubernetes.io/version: {{ .Chart.Version | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "airferry.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.Version }}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* Which store it is; fails unless there is exactly one. */ -}}
{{- define "airferry.store" -}}
{{- $kinds := list -}}
{{- if .Values.store.claim }}{{ $kinds = append $kinds "claim" }}{{ end -}}
{{- if and .Values.store.nfs.server .Values.store.nfs.path }}{{ $kinds = append $kinds "nfs" }}{{ end -}}
{{- if ne (len $kinds) 1 -}}
{{- fail (printf "set exactly one store: store.claim, or store.nfs.server with store.nfs.path; got %d" (len $kinds)) -}}
{{- end -}}
{{- first $kinds -}}
{{- end }}
