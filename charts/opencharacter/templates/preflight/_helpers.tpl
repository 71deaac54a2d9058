{{/* Metadata of a hook's object: dict "root" $ "weight" "-5" "hook" "pre-install,pre-upgrade" "name" …. */}}
{{- define "opencharacter.hookMetadata" -}}
{{ include "opencharacter.metadata" (dict "root" .root "component" "check" "name" .name) }}
annotations:
  helm.sh/hook: {{ .hook }}
  helm.sh/hook-weight: {{ .weight | quote }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* A container that runs a command of the image `tools`: dict "root" $ "name" … "command" list. */}}
{{- define "opencharacter.checkContainer" -}}
name: {{ .name }}
image: {{ include "opencharacter.image" (dict "root" .root "name" "tools") }}
imagePullPolicy: {{ .root.Values.images.pullPolicy }}
command:
  {{- toYaml .command | nindent 2 }}
resources:
  {{- include "opencharacter.resources" (dict "cpu" "100m" "memory" "512Mi") | nindent 2 }}
securityContext:
  {{- include "opencharacter.containerSecurity" . | nindent 2 }}
volumeMounts:
  {{- include "opencharacter.writableMounts" . | nindent 2 }}
{{- end }}

{{/* The names of the Secrets that `preflight.secrets` asks for. */}}
{{- define "opencharacter.neededSecrets" -}}
{{- $names := list }}
{{- range .Values.preflight.secrets }}
{{- $names = append $names (index (splitList ":" .) 0) }}
{{- end }}
{{- toJson $names }}
{{- end }}
