{{- define "duotempo.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "duotempo.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end }}

{{- define "duotempo.claim" -}}
{{- .Values.home.existingClaim | default (printf "%s-home" (include "duotempo.name" .)) -}}
{{- end }}

{{/* Of (dict "root" $ "part" "prefect") */}}
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

{{/* What each pod has: no rights at the API, no root. */}}
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

{{/* One key of the Secret as a variable, of (dict "root" $ "key" "KEY" "name" "VARIABLE" "optional" true); the variable has
the key's name where none is given. */}}
{{- define "duotempo.secret" -}}
- name: {{ .name | default .key }}
  valueFrom: {secretKeyRef: {name: {{ .root.Values.existingSecret }}, key: {{ .key }}, optional: {{ .optional | default false }}}}
{{- end }}

{{/* What Prefect and MLflow let in. */}}
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

{{/* Feedback that waits while Postgres is away: a disk of the pod's own, which outlives it. SQLite needs a disk of one
node, so it is not in the home. */}}
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
