{{- define "baileys.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "baileys.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- $name := include "baileys.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "baileys.selectorLabels" -}}
app.kubernetes.io/name: {{ include "baileys.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "baileys.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "baileys.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "baileys.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "baileys.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "baileys.image" -}}
{{- if .image.digest }}
{{- printf "%s@%s" .image.repository .image.digest }}
{{- else }}
{{- printf "%s:%s" .image.repository (default .root.Chart.AppVersion .image.tag) }}
{{- end }}
{{- end }}

{{/* Refuses values that cannot work, before anything is installed. */}}
{{- define "baileys.check" -}}
{{- if and (eq .Values.mode "daemonset") (not .Values.auth.hostPath) }}
{{- fail "mode daemonset needs auth.hostPath: the directory of the node with the auth folders" }}
{{- end }}
{{- if and (eq .Values.mode "sidecar") (not .Values.bot.image) }}
{{- fail "mode sidecar needs bot.image: the container of your bot" }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled }}
{{- fail "serviceMonitor and podMonitor: enable one of them, or each series is scraped twice" }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled (eq .Values.mode "daemonset") (not .Values.service.enabled) }}
{{- fail "serviceMonitor needs service.enabled" }}
{{- end }}
{{- range .Values.config.processes }}
{{- if .allow_restart }}
{{- fail "config.processes: allow_restart has no place in Kubernetes. The remediator does not stop bots there; see docs/kubernetes.md" }}
{{- end }}
{{- end }}
{{- if .Values.remediator.enabled }}
{{- if and (not .Values.config.alertmanager) (ne (default "" .Values.config.trigger) "local") }}
{{- fail "remediator.enabled needs config.alertmanager (urls and match), or config.trigger: local" }}
{{- end }}
{{- if and .Values.config.alertmanager (not (dig "match" "instance" "" .Values.config.alertmanager)) }}
{{- fail "config.alertmanager.match.instance is missing: without it an alert of another pod acts here. Set it to \"${BAILEYS_INSTANCE}\"" }}
{{- end }}
{{- if and (eq .Values.mode "daemonset") (not .Values.remediator.state.hostPath) }}
{{- fail "mode daemonset with the remediator needs remediator.state.hostPath: its journal must outlive the pod" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Name of the node, or namespace and name of the pod: the label "instance", and ${BAILEYS_INSTANCE} in the configuration. */}}
{{- define "baileys.instanceEnv" -}}
- name: BAILEYS_INSTANCE_NAME
  valueFrom:
    fieldRef:
      fieldPath: {{ ternary "spec.nodeName" "metadata.name" (eq .Values.mode "daemonset") }}
- name: BAILEYS_INSTANCE
  value: {{ if eq .Values.mode "sidecar" }}{{ .Release.Namespace }}/{{ end }}$(BAILEYS_INSTANCE_NAME):{{ .Values.exporter.port }}
# Kubernetes lets the group of the pod read a Secret, as systemd does with credentials.
- name: CREDENTIALS_DIRECTORY
  value: /etc/baileys-secrets
{{- end }}

{{- define "baileys.relabelings" -}}
- targetLabel: job
  replacement: {{ .job }}
{{- if eq .root.Values.mode "daemonset" }}
- sourceLabels: [__meta_kubernetes_pod_node_name]
{{- else }}
# Two releases of one name in two namespaces have pods of one name.
- sourceLabels: [__meta_kubernetes_namespace, __meta_kubernetes_pod_name]
  separator: /
{{- end }}
  targetLabel: instance
  replacement: ${1}:{{ .port }}
# The operator adds these labels. After a rollout they would make two series of one session,
# and the rules could not join them.
- {action: labeldrop, regex: pod|container|endpoint|service}
{{- end }}

{{/* The probes use HTTP; with a web configuration they run `health` in the container. Beside a bot
there is no readiness probe: it would take the bot out of its Service. */}}
{{- define "baileys.probes" -}}
{{- $web := .root.Values.webConfig.existingSecret }}
{{- $exec := list .program "health" (printf "--web.listen-address=:%d" (int .port)) "--web.config.file=/etc/baileys-secrets/web/web-config.yml" }}
{{- $probes := dict "startupProbe" (dict "periodSeconds" 5 "failureThreshold" 60) "livenessProbe" (dict "periodSeconds" 30 "failureThreshold" 4) }}
{{- if eq .root.Values.mode "daemonset" }}
{{- $_ := set $probes "readinessProbe" (dict "periodSeconds" 10 "failureThreshold" 3) }}
{{- end }}
{{- range $probe, $times := $probes }}
{{ $probe }}:
  {{- if $web }}
  exec:
    command: {{ toJson $exec }}
  {{- else }}
  httpGet:
    path: {{ ternary "/-/ready" "/-/healthy" (eq $probe "readinessProbe") }}
    port: {{ $.name }}
  {{- end }}
  timeoutSeconds: 5
  {{- toYaml $times | nindent 2 }}
{{- end }}
{{- end }}

{{- define "baileys.exporter" -}}
- name: exporter
  image: {{ include "baileys.image" (dict "root" . "image" .Values.exporter.image) }}
  imagePullPolicy: {{ .Values.exporter.image.pullPolicy }}
  args:
    - --config.file=/etc/baileys/config.yml
    - --web.listen-address=:{{ .Values.exporter.port }}
    {{- if .Values.webConfig.existingSecret }}
    - --web.config.file=/etc/baileys-secrets/web/web-config.yml
    {{- end }}
    {{- with .Values.exporter.extraArgs }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  env:
    {{- include "baileys.instanceEnv" . | nindent 4 }}
    {{- with .Values.exporter.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: metrics
      containerPort: {{ .Values.exporter.port }}
  {{- include "baileys.probes" (dict "root" . "program" "/baileys_exporter" "name" "metrics" "port" .Values.exporter.port) | nindent 2 }}
  resources:
    {{- toYaml .Values.exporter.resources | nindent 4 }}
  securityContext:
    {{- toYaml .Values.securityContext | nindent 4 }}
  volumeMounts:
    - {name: config, mountPath: /etc/baileys, readOnly: true}
    - {name: auth, mountPath: /sessions, readOnly: true}
    - {name: exporter-state, mountPath: /var/lib/baileys_exporter}
    {{- include "baileys.moreMounts" . | nindent 4 }}
{{- end }}

{{- define "baileys.remediator" -}}
- name: remediator
  image: {{ include "baileys.image" (dict "root" . "image" .Values.remediator.image) }}
  imagePullPolicy: {{ .Values.remediator.image.pullPolicy }}
  args:
    - serve
    - --config.file=/etc/baileys/config.yml
    - --web.listen-address=:{{ .Values.remediator.port }}
    {{- if .Values.webConfig.existingSecret }}
    - --web.config.file=/etc/baileys-secrets/web/web-config.yml
    {{- end }}
    {{- with .Values.remediator.extraArgs }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  env:
    {{- include "baileys.instanceEnv" . | nindent 4 }}
    {{- with .Values.remediator.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: remediator
      containerPort: {{ .Values.remediator.port }}
  {{- include "baileys.probes" (dict "root" . "program" "/baileys_remediator" "name" "remediator" "port" .Values.remediator.port) | nindent 2 }}
  resources:
    {{- toYaml .Values.remediator.resources | nindent 4 }}
  securityContext:
    {{- toYaml .Values.securityContext | nindent 4 }}
  volumeMounts:
    - {name: config, mountPath: /etc/baileys, readOnly: true}
    - {name: auth, mountPath: /sessions}
    - {name: remediator-state, mountPath: /var/lib/baileys_remediator}
    - {name: tmp, mountPath: /tmp}
    {{- include "baileys.moreMounts" . | nindent 4 }}
{{- end }}

{{- define "baileys.moreMounts" -}}
{{- with .Values.logs.hostPath }}
- {name: logs, mountPath: {{ . | quote }}, readOnly: true}
{{- end }}
{{- if .Values.webConfig.existingSecret }}
- {name: web-config, mountPath: /etc/baileys-secrets/web, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The pod with all containers. */}}
{{- define "baileys.pod" -}}
metadata:
  labels:
    {{- include "baileys.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ toYaml .Values.config | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "baileys.serviceAccountName" . }}
  automountServiceAccountToken: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  containers:
    {{- if eq .Values.mode "sidecar" }}
    {{- include "baileys.bot" . | nindent 4 }}
    {{- end }}
    {{- include "baileys.exporter" . | nindent 4 }}
    {{- if .Values.remediator.enabled }}
    {{- include "baileys.remediator" . | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "baileys.fullname" . }}
    - name: exporter-state
      {{- toYaml .Values.exporter.state | nindent 6 }}
    {{- if .Values.remediator.enabled }}
    - name: tmp
      emptyDir: {}
    {{- end }}
    {{- if eq .Values.mode "daemonset" }}
    - name: auth
      hostPath: {path: {{ .Values.auth.hostPath | quote }}, type: Directory}
    {{- if .Values.remediator.enabled }}
    - name: remediator-state
      hostPath: {path: {{ .Values.remediator.state.hostPath | quote }}, type: Directory}
    {{- end }}
    {{- else }}
    {{- with .Values.auth.existingClaim }}
    - name: auth
      persistentVolumeClaim: {claimName: {{ . }}}
    {{- end }}
    {{- if .Values.remediator.enabled }}
    - name: remediator-state
      persistentVolumeClaim: {claimName: {{ include "baileys.fullname" . }}-remediator-state}
    {{- end }}
    {{- end }}
    {{- with .Values.logs.hostPath }}
    - name: logs
      hostPath: {path: {{ . | quote }}, type: Directory}
    {{- end }}
    {{- with .Values.webConfig.existingSecret }}
    - name: web-config
      secret: {secretName: {{ . }}, defaultMode: 0400}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* The bot's container with the volume added, and with a restricted security context by default. */}}
{{- define "baileys.bot" -}}
{{- $mounts := append (default list .Values.bot.volumeMounts) (dict "name" "auth" "mountPath" "/sessions") }}
{{- $context := dict "allowPrivilegeEscalation" false "capabilities" (dict "drop" (list "ALL")) }}
{{- $bot := merge (dict "volumeMounts" $mounts) .Values.bot (dict "name" "bot" "securityContext" $context) }}
{{- toYaml (list $bot) }}
{{- end }}
