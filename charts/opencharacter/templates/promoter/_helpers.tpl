{{/* What `opencharacter promoter` reads. */}}
{{- define "opencharacter.promoterConfig" -}}
{{- with .Values.promoter -}}
{{- if not .models }}
{{- fail "promoter.models: is empty; expected at least one {model, deploy}" }}
{{- end -}}
{{- if and $.Values.serving.transformer.apiKeysSecret (not .apiKey.secretName) }}
{{- fail "promoter.apiKey.secretName: is empty; a new version is asked a question before it serves, and the endpoint asks for a key (serving.transformer.apiKeysSecret)" }}
{{- end -}}
models:
  {{- range .models }}
  - model: {{ .model | quote }}
    alias: {{ .alias | default "champion" | quote }}
    deploy:
      {{- toYaml (.deploy | default dict) | nindent 6 }}
  {{- end }}
require_gate: {{ .requireGate }}
poll_s: {{ .pollSeconds }}
retry_s: {{ .retrySeconds }}
retry_max_s: {{ .retryMaxSeconds }}
lease:
  name: opencharacter-promoter
  duration_s: {{ .leaseSeconds }}
{{- if .webhook.enabled }}
webhook:
  name: {{ printf "opencharacter-promoter-%s" $.Release.Namespace | trunc 62 | trimSuffix "-" }}
  url: http://opencharacter-promoter.{{ $.Release.Namespace }}:8080/webhooks/mlflow
  manage: {{ .webhook.manage }}
{{- end }}
{{- end }}
{{- end }}

{{- define "opencharacter.promoterRegistry" -}}
{{- if .Values.promoter.trackingUri }}
{{- .Values.promoter.trackingUri }}
{{- else if .Values.mlflow.enabled }}
{{- printf "http://opencharacter-mlflow.%s:5000" .Release.Namespace }}
{{- else }}
{{- fail "promoter.trackingUri: is empty; expected the address of your MLflow, since mlflow.enabled is false" }}
{{- end }}
{{- end }}
