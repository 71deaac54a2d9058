{{/* The image of the MLflow server. */}}
{{- define "opencharacter.mlflowImage" -}}
{{- with .Values.mlflow.image }}
{{- if .repository }}
{{- include "opencharacter.pinned" (dict "key" "mlflow.image.tag" "image" (printf "%s:%s" .repository .tag)) }}
{{- else }}
{{- include "opencharacter.image" (dict "root" $ "name" "tools") }}
{{- end }}
{{- end }}
{{- end }}

{{/* The variable that says where MLflow's tables are. */}}
{{- define "opencharacter.mlflowDatabase" -}}
{{- with .Values.mlflow.backend -}}
- name: MLFLOW_BACKEND_STORE_URI
{{- if eq .type "sqlite" }}
  value: sqlite:////var/mlflow/mlflow.db
{{- else }}
  valueFrom:
    secretKeyRef: {name: {{ .secretName }}, key: {{ .secretKey }}}
{{- end }}
{{- end }}
{{- end }}

{{- define "opencharacter.mlflowMounts" -}}
{{ include "opencharacter.writableMounts" . }}
{{- if eq .Values.mlflow.backend.type "sqlite" }}
- {name: data, mountPath: /var/mlflow}
{{- end }}
{{- end }}
