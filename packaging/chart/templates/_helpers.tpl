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
{{- if .Values.store.s3.bucket }}{{ $kinds = append $kinds "s3" }}{{ end -}}
{{- if ne (len $kinds) 1 -}}
{{- fail (printf "set exactly one store: store.claim, store.nfs.server with store.nfs.path, or store.s3.bucket; got %d" (len $kinds)) -}}
{{- end -}}
{{- if .Values.store.s3.bucket -}}
{{- with .Values.store.s3 -}}
{{- $account := or .serviceAccountName .serviceAccountAnnotations -}}
{{- if or (and .credentialsSecret $account) (not (or .credentialsSecret $account)) -}}
{{- fail "say who the pods are to the storage, in one way: store.s3.credentialsSecret, or store.s3.serviceAccountName or serviceAccountAnnotations" -}}
{{- end -}}
{{- if not (or .endpoint .region) -}}
{{- fail "set store.s3.endpoint, or store.s3.region for AWS" -}}
{{- end -}}
{{- if and .caSecret (not (hasPrefix "https:" .endpoint)) -}}
{{- fail "store.s3.caSecret needs store.s3.endpoint: https://HOST:PORT" -}}
{{- end -}}
{{- end -}}
{{- if .Values.store.subPath -}}
{{- fail "store.subPath is of store.claim; a bucket has store.s3.prefix" -}}
{{- end -}}
{{- end -}}
{{- first $kinds -}}
{{- end }}

{{- /* The name of a store in object storage, as --store takes it. */ -}}
{{- define "airferry.bucket" -}}
{{- with .Values.store.s3 -}}
{{- $query := list -}}
{{- if .endpoint }}{{ $query = append $query (printf "endpoint=%s" .endpoint) }}{{ end -}}
{{- if .region }}{{ $query = append $query (printf "region=%s" .region) }}{{ end -}}
{{- if .caSecret }}{{ $query = append $query "ca=/bucket-ca/ca.crt" }}{{ end -}}
s3://{{ .bucket }}{{ with .prefix }}/{{ . }}{{ end }}?{{ join "&" $query }}
{{- end -}}
{{- end }}

{{- /* The port of its endpoint. */ -}}
{{- define "airferry.bucketPort" -}}
{{- $endpoint := .Values.store.s3.endpoint | default "https://" -}}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $endpoint) | default (ternary "80" "443" (hasPrefix "http:" $endpoint)) -}}
{{- end }}

{{- /* MiB of a cache's volume: its content, a quarter more for what is being written, and 1 GiB of records. */ -}}
{{- define "airferry.cacheMi" -}}
{{- $size := .Values.store.s3.cache.size -}}
{{- $mib := mul (regexFind "^[0-9]+" $size | int64) (get (dict "MiB" 1 "GiB" 1024 "TiB" 1048576) (regexFind "[A-Za-z]+$" $size)) -}}
{{- if lt $mib 64 }}{{ fail "store.s3.cache.size: expected 64MiB or more" }}{{ end -}}
{{- add $mib (div $mib 4) 1024 -}}
{{- end }}

{{- define "airferry.account" -}}
{{- .Values.store.s3.serviceAccountName | default (include "airferry.name" .) -}}
{{- end }}

{{- /*
Memory and processor time from the values, and room on the node's disk for what the pod writes: /tmp, the container's log,
and a cache that is not a claim.
*/ -}}
{{- define "airferry.resources" -}}
{{- $cache := 0 -}}
{{- if and .Values.store.s3.bucket (not .Values.store.s3.cache.claim) }}{{ $cache = include "airferry.cacheMi" . | int64 }}{{ end -}}
{{- $requests := dict "ephemeral-storage" (printf "%dMi" (add $cache 64)) -}}
{{- $limits := dict "ephemeral-storage" (printf "%dMi" (add $cache 256)) -}}
{{- $own := .Values.resources | default dict -}}
requests:
  {{- toYaml (merge (deepCopy ($own.requests | default dict)) $requests) | nindent 2 }}
limits:
  {{- toYaml (merge (deepCopy ($own.limits | default dict)) $limits) | nindent 2 }}
{{- with omit $own "requests" "limits" }}
{{ toYaml . }}
{{- end }}
{{- end }}
