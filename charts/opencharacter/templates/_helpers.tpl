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

{{/* One of this project's images: dict "root" $ "name" "tools". */}}
{{- define "opencharacter.image" -}}
{{- $images := .root.Values.images -}}
{{- $digest := index $images.digests .name -}}
{{- $repository := printf "%s/%s" $images.registry .name -}}
{{- if $digest }}{{ $repository }}@{{ $digest }}{{ else }}{{ $repository }}:{{ $images.tag | default .root.Chart.AppVersion }}{{ end -}}
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

{{/* How a container reaches the object store. */}}
{{- define "opencharacter.s3Env" -}}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef: {name: {{ .Values.s3.secretName }}, key: AWS_ACCESS_KEY_ID}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef: {name: {{ .Values.s3.secretName }}, key: AWS_SECRET_ACCESS_KEY}
- name: AWS_DEFAULT_REGION
  value: {{ .Values.s3.region | quote }}
{{- with .Values.s3.endpoint }}
- name: AWS_ENDPOINT_URL
  value: {{ . | quote }}
- name: MLFLOW_S3_ENDPOINT_URL
  value: {{ . | quote }}
{{- end }}
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

{{- define "opencharacter.dnsEgress" -}}
- to:
    - namespaceSelector: {}
      podSelector:
        matchLabels: {k8s-app: kube-dns}
  ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
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
