{{- define "duotempo.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "duotempo.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end }}

{{- define "duotempo.claim" -}}
{{- .Values.home.existingClaim | default (printf "%s-home" (include "duotempo.name" .)) -}}
{{- end }}

{{/* Arguments: (dict "root" $ "part" "prefect") */}}
{{- define "duotempo.selector" -}}
app.kubernetes.io/name: duotempo
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "duotempo.labels" -}}
{{ include "duotempo.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* Settings of every pod: no access to the Kubernetes API, no root. */}}
{{- define "duotempo.pod" -}}
serviceAccountName: {{ include "duotempo.name" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "duotempo.container" -}}
image: {{ include "duotempo.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{ include "duotempo.locked" . }}
{{- end }}

{{- define "duotempo.locked" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* One key of the Secret as a variable. Arguments: (dict "root" $ "key" "KEY" "name" "VARIABLE" "optional" true); the
name defaults to the key. */}}
{{- define "duotempo.secret" -}}
- name: {{ .name | default .key }}
  valueFrom: {secretKeyRef: {name: {{ .root.Values.existingSecret }}, key: {{ .key }}, optional: {{ .optional | default false }}}}
{{- end }}

{{/* Logins of Prefect and MLflow. */}}
{{- define "duotempo.logins" -}}
{{ include "duotempo.secret" (dict "root" . "key" "PREFECT_API_AUTH_STRING") }}
{{ include "duotempo.mlflowLogin" . }}
{{- end }}

{{- define "duotempo.mlflowLogin" -}}
{{ include "duotempo.secret" (dict "root" . "key" "MLFLOW_TRACKING_USERNAME") }}
{{ include "duotempo.secret" (dict "root" . "key" "MLFLOW_TRACKING_PASSWORD") }}
{{- end }}

{{- define "duotempo.home" -}}
- name: home
  persistentVolumeClaim: {claimName: {{ include "duotempo.claim" . }}}
- name: scratch
  emptyDir: {}
{{- end }}

{{- define "duotempo.mounts" -}}
- {name: home, mountPath: /var/lib/duotempo}
- {name: scratch, mountPath: /tmp}
{{- end }}

{{/* Buffers feedback while Postgres is away: one volume per pod, which outlives the pod. SQLite needs a local disk, so
the spool is not in the home. */}}
{{- define "duotempo.spool" -}}
- apiVersion: v1
  kind: PersistentVolumeClaim
  metadata: {name: spool}
  spec:
    accessModes: [ReadWriteOnce]
    {{- with .Values.spool.storageClass }}
    storageClassName: {{ . }}
    {{- end }}
    resources: {requests: {storage: {{ .Values.spool.size }}}}
{{- end }}

{{- define "duotempo.spoolFolder" -}}
{name: DUOTEMPO_SERVING__SPOOL_FOLDER, value: /var/lib/duotempo-spool/feedback}
{{- end }}

{{- define "duotempo.spoolMount" -}}
{name: spool, mountPath: /var/lib/duotempo-spool}
{{- end }}
