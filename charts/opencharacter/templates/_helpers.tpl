{{/* Labels of an object: dict "root" $ "component" "mlflow". */}}
{{- define "opencharacter.labels" -}}
{{ include "opencharacter.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{- end }}

{{/* Labels that tell this chart's pods apart; they never change. */}}
{{- define "opencharacter.selector" -}}
app.kubernetes.io/part-of: opencharacter
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Metadata of an object: dict "root" $ "component" "mlflow" "name" "opencharacter-mlflow". */}}
{{- define "opencharacter.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "opencharacter.labels" . | nindent 2 }}
{{- end }}

{{/* An image reference that names a version: dict "key" "serving.engine.image" "image" "vllm:v1". */}}
{{- define "opencharacter.pinned" -}}
{{- if hasSuffix ":latest" .image }}
{{- fail (printf "%s: latest names no version; expected a tag that does, such as 0.1.0" .key) }}
{{- end }}
{{- .image }}
{{- end }}

{{/* One of this project's images: dict "root" $ "name" "tools". */}}
{{- define "opencharacter.image" -}}
{{- $images := .root.Values.images -}}
{{- $digest := index $images.digests .name -}}
{{- $repository := printf "%s/%s" $images.registry .name -}}
{{- $tag := $images.tag | default .root.Chart.AppVersion -}}
{{- $tagged := include "opencharacter.pinned" (dict "key" "images.tag" "image" (printf "%s:%s" $repository $tag)) -}}
{{- if $digest }}{{ $repository }}@{{ $digest }}{{ else }}{{ $tagged }}{{ end -}}
{{- end }}

{{- define "opencharacter.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Pod Security `restricted`, for pods of this project's images. */}}
{{- define "opencharacter.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "opencharacter.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* The same for containers of a ServingRuntime, which has no pod-level context: the user as argument. */}}
{{- define "opencharacter.runtimeSecurity" -}}
{{ include "opencharacter.containerSecurity" . }}
runAsNonRoot: true
runAsUser: {{ . }}
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Requests, and a limit for memory only: a CPU limit would throttle. dict "cpu" "1" "memory" "2Gi". */}}
{{- define "opencharacter.resources" -}}
requests:
  cpu: {{ .cpu | quote }}
  memory: {{ .memory | quote }}
limits:
  memory: {{ .memory | quote }}
{{- end }}

{{/* How a container reaches the object store: dict "root" $ "optional" false (whether it starts without the Secret). */}}
{{- define "opencharacter.s3Env" -}}
{{- $s3 := .root.Values.s3 }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef: {name: {{ $s3.secretName }}, key: AWS_ACCESS_KEY_ID{{ if .optional }}, optional: true{{ end }}}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef: {name: {{ $s3.secretName }}, key: AWS_SECRET_ACCESS_KEY{{ if .optional }}, optional: true{{ end }}}
- name: AWS_DEFAULT_REGION
  value: {{ $s3.region | quote }}
{{- with $s3.endpoint }}
- name: AWS_ENDPOINT_URL
  value: {{ . | quote }}
- name: MLFLOW_S3_ENDPOINT_URL
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{/* vLLM's own environment, which serving.engine.env goes before. */}}
{{- define "opencharacter.engineEnv" -}}
HOME: /var/opencharacter
# A user that the image does not know has no name, and torch asks for one.
USER: opencharacter
XDG_CACHE_HOME: /var/opencharacter/cache
VLLM_CACHE_ROOT: /var/opencharacter/cache/vllm
TRITON_CACHE_DIR: /var/opencharacter/cache/triton
TORCHINDUCTOR_CACHE_DIR: /var/opencharacter/cache/inductor
HF_HUB_OFFLINE: "1"
VLLM_NO_USAGE_STATS: "1"
# Its own limit is OpenAI's 4; clients for role-play send the name of every speaker.
VLLM_MAX_STOP_STRINGS: "64"
{{- if .Values.monitoring.tracing.endpoint }}
OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: http/protobuf
OTEL_SERVICE_NAME: vllm
{{- end }}
DO_NOT_TRACK: "1"
{{- end }}

{{/* The two writable places of this project's images. */}}
{{- define "opencharacter.writableMounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: home, mountPath: /var/opencharacter}
{{- end }}

{{- define "opencharacter.writableVolumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 1Gi}
- name: home
  emptyDir: {sizeLimit: 1Gi}
{{- end }}

{{/* Peers that may call the servers and MLflow: the own namespace, and the clients' namespaces. */}}
{{- define "opencharacter.clients" -}}
- podSelector: {}
{{- range .Values.networkPolicies.clients }}
- namespaceSelector:
    matchLabels:
      {{- toYaml . | nindent 6 }}
{{- end }}
{{- end }}

{{/* Connections to the pods that answer DNS, and to a cache of the node: its address is no pod's. */}}
{{- define "opencharacter.dnsEgress" -}}
{{- with .Values.networkPolicies.dns -}}
- to:
    {{- with .pods }}
    - namespaceSelector: {}
      podSelector:
        matchExpressions:
          - {key: k8s-app, operator: In, values: {{ toJson . }}}
    {{- end }}
    {{- range .cidrs }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
  ports:
    {{- range .ports }}
    - {port: {{ . }}, protocol: UDP}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}
{{- end }}

{{/* Connections to the world on some ports: dict "root" $ "ports" list. */}}
{{- define "opencharacter.worldEgress" -}}
- to:
    {{- range .root.Values.networkPolicies.egress.cidrs }}
    - ipBlock:
        cidr: {{ . }}
        {{- with $.root.Values.networkPolicies.egress.except }}
        except:
          {{- toYaml . | nindent 10 }}
        {{- end }}
    {{- end }}
  ports:
    {{- range uniq .ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}
