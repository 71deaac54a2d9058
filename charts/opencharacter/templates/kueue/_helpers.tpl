{{/* A name in the cluster, where namespaces would clash; it may hold .Release.Namespace: dict "root" $ "name" …. */}}
{{- define "opencharacter.clusterName" -}}
{{- tpl .name .root }}
{{- end }}

{{/* The same, of a class that pods name in a label. */}}
{{- define "opencharacter.priorityName" -}}
{{- $name := include "opencharacter.clusterName" . }}
{{- if gt (len $name) 63 }}
{{- fail (printf "kueue.priorities: the name '%s' has %d characters; a label holds 63. Expected a shorter one, which a cluster file then names as `priority`" $name (len $name)) }}
{{- end }}
{{- $name }}
{{- end }}
