{{/* The shipped cluster file for these values. */}}
{{- define "opencharacter.cluster" -}}
{{- ternary "pool" (ternary "node8" "cpu" (gt (int .Values.preflight.gpus) 0)) .Values.kueue.enabled }}
{{- end }}

{{/* The command that submits a first run to this release. */}}
{{- define "opencharacter.submit" -}}
{{- $cluster := include "opencharacter.cluster" . }}
{{- $words := list "opencharacter" "pipeline" "submit" "--host" "http://localhost:8080" "--cluster" $cluster }}
{{- if eq $cluster "cpu" }}
{{- $words = concat $words (list "--preset" "demo") }}
{{- range list "sft.base_model" "engines.teacher.weights" "engines.judge.weights" }}
{{- $words = concat $words (list "--set" (printf "%s=HuggingFaceTB/SmolLM2-135M-Instruct" .)) }}
{{- end }}
{{- else }}
{{- $words = concat $words (list "--preset" "final") }}
{{- end }}
{{- $images := .Values.images }}
{{- $keys := list (printf "namespace=%s" .Release.Namespace) (printf "images.registry=%s" $images.registry) }}
{{- with $images.tag }}{{ $keys = append $keys (printf "images.tag=%s" .) }}{{ end }}
{{- range $name, $digest := $images.digests }}
{{- if $digest }}{{ $keys = append $keys (printf "images.digests.%s=%s" $name $digest) }}{{ end }}
{{- end }}
{{- if ne $images.pullPolicy "IfNotPresent" }}{{ $keys = append $keys (printf "images.pull_policy=%s" $images.pullPolicy) }}{{ end }}
{{- with $images.pullSecrets }}{{ $keys = append $keys (printf "images.pull_secrets=[%s]" (join "," .)) }}{{ end }}
{{- if ne .Values.s3.region "us-east-1" }}{{ $keys = append $keys (printf "env.AWS_DEFAULT_REGION=%s" .Values.s3.region) }}{{ end }}
{{- with .Values.s3.endpoint }}{{ $keys = append $keys (printf "env.AWS_ENDPOINT_URL=%s" .) }}{{ end }}
{{- if not .Values.mlflow.enabled }}{{ $keys = append $keys "env.MLFLOW_TRACKING_URI=https://MLFLOW" }}{{ end }}
{{- range $keys }}{{ $words = concat $words (list "--cluster-set" .) }}{{ end }}
{{- $words = concat $words (list "--workspace" (.Values.preflight.bucket | default "s3://BUCKET/PREFIX")) }}
{{- $quoted := list }}
{{- range $words }}
{{- $plain := regexMatch "^[A-Za-z0-9_./:=@-]+$" . }}
{{- $quoted = append $quoted (ternary . (printf "'%s'" (replace "'" "'\\''" .)) $plain) }}
{{- end }}
{{- join " " $quoted }}
{{- end }}
