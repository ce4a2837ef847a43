{{/* The name of a part: release-agent and so on. Called with a dict of root and service. It never changes: Memory would start
     with an empty claim. */}}
{{- define "memgpt.name" -}}
{{- printf "%s-%s" (.root.Release.Name | trunc 50 | trimSuffix "-") .service -}}
{{- end }}

{{/* The name before -headless and -metrics: names of Services have at most 63 characters. */}}
{{- define "memgpt.shortName" -}}
{{- printf "%s-%s" (.root.Release.Name | trunc 47 | trimSuffix "-") .service -}}
{{- end }}

{{- define "memgpt.selector" -}}
app.kubernetes.io/name: memgpt
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .service }}
{{- end }}

{{- define "memgpt.labels" -}}
{{ include "memgpt.selector" . }}
app.kubernetes.io/part-of: memgpt
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* The gRPC port of a service. */}}
{{- define "memgpt.port" -}}
{{- get (dict "agent" "50051" "memory" "50052" "loader" "50053") .service -}}
{{- end }}

{{/* One entry of env from a secret: a dict of name, secret and key. */}}
{{- define "memgpt.secret" }}
- name: {{ .name }}
  valueFrom: {secretKeyRef: {name: {{ .secret | quote }}, key: {{ .key | quote }}}}
{{- end }}

{{/* A value as the text of a variable: numbers from files would be 1.048576e+06. */}}
{{- define "memgpt.text" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ printf "%.0f" . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{/* The secret with the key of the services. */}}
{{- define "memgpt.credentials" -}}
{{- .Values.credentials.existingSecret | default (printf "%s-credentials" (.Release.Name | trunc 50 | trimSuffix "-")) -}}
{{- end }}

{{/* What all three services are told. */}}
{{- define "memgpt.commonEnv" -}}
{{- $service := upper .service }}
- {name: MEMGPT_{{ $service }}_METRICS_PORT, value: "9464"}
- {name: MEMGPT_SERVER_METRICS_HOST, value: "0.0.0.0"}
# Threads of linear algebra by what the container has, not by the node's cores: without a limit, its request rounded up.
- name: OPENBLAS_NUM_THREADS
  valueFrom: {resourceFieldRef: {resource: {{ dig "limits" "cpu" "" (get .root.Values .service).resources | empty | ternary "requests.cpu" "limits.cpu" }}}}
- {name: MEMGPT_SERVER_LOG_LEVEL, value: {{ .root.Values.server.logLevel | quote }}}
- {name: MEMGPT_SERVER_DRAIN_PAUSE, value: "1"}
- {name: MEMGPT_SERVER_DRAIN_GRACE, value: {{ include "memgpt.text" .root.Values.server.drainGraceSeconds | quote }}}
- {name: MEMGPT_SERVER_MAX_CONNECTION_AGE, value: {{ include "memgpt.text" .root.Values.server.maxConnectionAge | quote }}}
{{- if .root.Values.tls.enabled }}
- {name: MEMGPT_SERVER_TLS_CERT, value: /etc/memgpt/tls/tls.crt}
- {name: MEMGPT_SERVER_TLS_KEY, value: /etc/memgpt/tls/tls.key}
{{- if .root.Values.tls.clientCertificates }}
- {name: MEMGPT_SERVER_TLS_CLIENT_CA, value: /etc/memgpt/tls/ca.crt}
{{- end }}
{{- end }}
{{- if .root.Values.credentials.allowAnonymous }}
- {name: MEMGPT_SERVER_ALLOW_ANONYMOUS, value: "true"}
{{- else }}
- {name: MEMGPT_SERVER_SERVICE_KEY_FILE, value: /etc/memgpt/credentials/service-key}
- {name: MEMGPT_SERVER_ALLOW_PLAINTEXT, value: {{ .root.Values.credentials.allowPlaintext | quote }}}
{{- if eq .service "memory" }}
- {name: MEMGPT_MEMORY_FIRST_KEY_FILE, value: /var/lib/memgpt/first_key}
{{- end }}
{{- end }}
{{- if ne .service "memory" }}
- {name: MEMGPT_{{ $service }}_MEMORY_ADDRESS, value: {{ printf "%s:50052" (include "memgpt.name" (dict "root" .root "service" "memory")) | quote }}}
{{- if .root.Values.tls.enabled }}
- {name: MEMGPT_{{ $service }}_MEMORY_TLS, value: "true"}
- {name: MEMGPT_{{ $service }}_MEMORY_TLS_CA, value: /etc/memgpt/tls/ca.crt}
- {name: MEMGPT_{{ $service }}_MEMORY_TLS_CERT, value: /etc/memgpt/tls/tls.crt}
- {name: MEMGPT_{{ $service }}_MEMORY_TLS_KEY, value: /etc/memgpt/tls/tls.key}
{{- end }}
{{- end }}
{{- if .root.Values.traces.enabled }}
- {name: MEMGPT_SERVER_TRACES, value: otlp}
- {name: MEMGPT_SERVER_TRACES_ENDPOINT, value: {{ .root.Values.traces.endpoint | quote }}}
# Spans name the pod.
- {name: K8S_POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: K8S_POD_UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
- {name: K8S_NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ printf "service.namespace=%s,service.instance.id=$(K8S_POD_UID),k8s.namespace.name=%s,k8s.pod.name=$(K8S_POD_NAME),k8s.pod.uid=$(K8S_POD_UID),k8s.node.name=$(K8S_NODE_NAME),k8s.container.name=%s" .root.Release.Name .root.Release.Namespace .service | quote }}
{{- end }}
{{- end }}

{{/* The variables of a service. The user's take the place of the chart's: server-side apply refuses a name that is listed
     twice. */}}
{{- define "memgpt.env" -}}
{{- $own := (get .root.Values .service).env | default dict }}
{{- range concat (include "memgpt.commonEnv" . | fromYamlArray) (.env | fromYamlArray) }}
{{- if not (hasKey $own .name) }}
- {{ toYaml . | nindent 2 | trim }}
{{- end }}
{{- end }}
{{- range $name, $value := $own }}
- {name: {{ $name }}, value: {{ include "memgpt.text" $value | quote }}}
{{- end }}
{{- end }}

{{/* The bytes of a quantity; a very large number if its unit is rare. */}}
{{- define "memgpt.bytes" -}}
{{- $units := dict "" 1.0 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 }}
{{- $number := regexFind "^[0-9.]+" (toString .) }}
{{- mulf (float64 $number) (get $units (trimPrefix $number (toString .)) | default 1e30) }}
{{- end }}

{{/* Seconds from preStop to the end: the pause, the grace, and time to close. */}}
{{- define "memgpt.stopping" -}}
{{- $own := (get .root.Values .service).env | default dict }}
{{- $pause := get $own "MEMGPT_SERVER_DRAIN_PAUSE" | default 1 }}
{{- $grace := get $own "MEMGPT_SERVER_DRAIN_GRACE" | default .root.Values.server.drainGraceSeconds }}
{{- addf .root.Values.server.preStopSeconds (float64 $pause) (float64 $grace) 10 | ceil | int64 }}
{{- end }}

{{/* The Deployment of a service: a dict of root, service, replicas, strategy, env, volume and
     models (sources of volumes). */}}
{{- define "memgpt.deployment" -}}
{{- $values := get .root.Values .service }}
{{- if and .root.Values.tls.clientCertificates (not .root.Values.tls.enabled) }}{{ fail "tls.clientCertificates needs tls.enabled" }}{{ end }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "memgpt.name" . }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "memgpt.labels" . | nindent 4 }}
spec:
  {{- if not (and (hasKey $values "autoscaling") $values.autoscaling.enabled) }}
  replicas: {{ .replicas }}
  {{- end }}
  strategy: {{- toYaml .strategy | nindent 4 }}
  selector:
    matchLabels: {{- include "memgpt.selector" . | nindent 6 }}
  template:
    metadata:
      labels: {{- include "memgpt.labels" . | nindent 8 }}
      {{- with $values.podAnnotations }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: {{ printf "%s-memgpt" .root.Release.Name }}
      automountServiceAccountToken: false
      # Service links would put MEMGPT_… variables of other Services into the environment.
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ include "memgpt.stopping" . }}
      securityContext: {{- toYaml .root.Values.podSecurityContext | nindent 8 }}
      {{- with .root.Values.image.pullSecrets }}
      imagePullSecrets: {{- range . }}
        - name: {{ . | quote }}
      {{- end }}
      {{- end }}
      {{- with $values.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.affinity }}
      affinity: {{- toYaml . | nindent 8 }}
      {{- end }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{- include "memgpt.selector" . | nindent 14 }}
      containers:
        - name: {{ .service }}
          image: {{ printf "%s/memgpt-%s:%s" .root.Values.image.registry .service (.root.Values.image.tag | default .root.Chart.AppVersion) | quote }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          ports:
            - {name: grpc, containerPort: {{ include "memgpt.port" . }}}
            - {name: metrics, containerPort: 9464}
          env: {{- include "memgpt.env" . | trim | nindent 12 }}
          # Plain HTTP on the metrics port: probes of the kubelet speak neither TLS nor client certificates.
          startupProbe:
            httpGet: {path: /livez, port: metrics}
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 36
          livenessProbe:
            httpGet: {path: /livez, port: metrics}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            httpGet: {path: /readyz, port: metrics}
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 3
          lifecycle:
            preStop:
              exec: {command: [sleep, {{ .root.Values.server.preStopSeconds | quote }}]}
          resources: {{- toYaml $values.resources | nindent 12 }}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            {{- if .volume }}
            - {name: data, mountPath: /var/lib/memgpt}
            {{- end }}
            {{- if .models }}
            - {name: models, mountPath: /models, readOnly: true}
            {{- end }}
            {{- if .root.Values.tls.enabled }}
            - {name: tls, mountPath: /etc/memgpt/tls, readOnly: true}
            {{- end }}
            {{- if not .root.Values.credentials.allowAnonymous }}
            - {name: credentials, mountPath: /etc/memgpt/credentials, readOnly: true}
            {{- end }}
      volumes:
        - name: tmp
          emptyDir: {sizeLimit: 64Mi}
        {{- with .volume }}
        - name: data
          {{- . | trim | nindent 10 }}
        {{- end }}
        {{- with .models }}
        - name: models
          {{- toYaml . | nindent 10 }}
        {{- end }}
        {{- if .root.Values.tls.enabled }}
        - name: tls
          secret: {secretName: {{ required "tls.existingSecret is required when tls.enabled is true" .root.Values.tls.existingSecret | quote }}, defaultMode: 288}
        {{- end }}
        {{- if not .root.Values.credentials.allowAnonymous }}
        - name: credentials
          secret: {secretName: {{ include "memgpt.credentials" .root | quote }}, defaultMode: 288, items: [{key: service-key, path: service-key}]}
        {{- end }}
{{- end }}

{{- define "memgpt.service" -}}
{{- $values := get .root.Values .service }}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "memgpt.name" . }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "memgpt.labels" . | nindent 4 }}
  {{- with $values.service.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ $values.service.type }}
  selector: {{- include "memgpt.selector" . | nindent 4 }}
  ports:
    - {name: grpc, port: {{ include "memgpt.port" . }}, targetPort: grpc, appProtocol: grpc}
    {{- if eq $values.service.type "ClusterIP" }}
    - {name: metrics, port: 9464, targetPort: metrics, appProtocol: http}
    {{- else }}
---
# Metrics stay inside the cluster.
apiVersion: v1
kind: Service
metadata:
  name: {{ include "memgpt.shortName" . }}-metrics
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "memgpt.labels" . | nindent 4 }}
spec:
  type: ClusterIP
  selector: {{- include "memgpt.selector" . | nindent 4 }}
  ports:
    - {name: metrics, port: 9464, targetPort: metrics, appProtocol: http}
    {{- end }}
{{- end }}

{{/* A Service whose name has the addresses of all pods, for clients that balance calls themselves. */}}
{{- define "memgpt.headless" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "memgpt.shortName" . }}-headless
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "memgpt.labels" . | nindent 4 }}
spec:
  type: ClusterIP
  clusterIP: None
  selector: {{- include "memgpt.selector" . | nindent 4 }}
  ports:
    - {name: grpc, port: {{ include "memgpt.port" . }}, targetPort: grpc, appProtocol: grpc}
{{- end }}
