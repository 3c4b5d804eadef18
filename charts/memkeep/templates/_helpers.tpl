{{/*
The objects of files/ are config/'s own, copied by `make generate`. Templates change in them what values decide and
nothing else; test/chart compares the two.
*/}}

{{/* An object of files/ for the release's namespace. Takes (list $ "files/..."); pipe it to fromYaml. */}}
{{- define "memkeep.base" -}}
{{- $root := index . 0 -}}
{{- $root.Files.Get (index . 1) | replace "memkeep-system" $root.Release.Namespace -}}
{{- end }}

{{/* Writes an object with the labels and annotations of all. Takes (list $ object). */}}
{{- define "memkeep.emit" -}}
{{- $root := index . 0 -}}
{{- $object := index . 1 -}}
{{- $ours := dict
      "app.kubernetes.io/name" "memkeep"
      "app.kubernetes.io/instance" $root.Release.Name
      "app.kubernetes.io/version" $root.Chart.AppVersion
      "app.kubernetes.io/managed-by" $root.Release.Service
      "helm.sh/chart" (printf "%s-%s" $root.Chart.Name ($root.Chart.Version | replace "+" "_")) -}}
{{- $labels := merge (dict) $ours ($object.metadata.labels | default dict) $root.Values.commonLabels -}}
{{- $_ := set $object.metadata "labels" $labels -}}
{{- $annotations := merge (dict) ($object.metadata.annotations | default dict) $root.Values.commonAnnotations -}}
{{- if $annotations }}{{ $_ := set $object.metadata "annotations" $annotations }}{{ end -}}
---
{{ toYaml $object }}
{{ end }}

{{/* An image's name without tag. Takes image or cacheImage of the values. */}}
{{- define "memkeep.repository" -}}
{{- with .registry }}{{ . }}/{{ end }}{{ .repository -}}
{{- end }}

{{/* An image's reference. Takes (list $ image). */}}
{{- define "memkeep.image" -}}
{{- $image := index . 1 -}}
{{- $tag := $image.tag -}}
{{- if not (or $tag $image.digest) }}{{ $tag = (index . 0).Chart.AppVersion }}{{ end -}}
{{- include "memkeep.repository" $image -}}
{{- with $tag }}:{{ . }}{{ end -}}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end }}

{{/* Whether the test may start a fleet of its own. */}}
{{- define "memkeep.testFleet" -}}
{{- if or (not .Values.watchNamespaces) (has (printf "%s-test" .Release.Namespace) .Values.watchNamespaces) }}yes{{ end -}}
{{- end }}

{{/* What schema.json cannot tell: values that contradict each other. */}}
{{- define "memkeep.check" -}}
{{- $v := .Values -}}
{{- $ns := .Release.Namespace -}}
{{- if gt (len $ns) 48 }}
{{- fail (printf "the namespace %s is too long: names made of it, such as %s-test.helm-test, have at most 63 characters" $ns $ns) }}
{{- end }}
{{- range $v.watchNamespaces }}
{{- if or (eq . $ns) (eq . (printf "%s-outsider" $ns)) }}
{{- fail (printf "watchNamespaces: %s belongs to the operator and can have no Memcaches; take it out" .) }}
{{- end }}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" .) }}
{{- fail (printf "watchNamespaces: %q is not a namespace's name" .) }}
{{- end }}
{{- end }}
{{- if and (not $v.rbac.clusterReader) (not $v.watchNamespaces) }}
{{- fail "rbac.clusterReader: false needs watchNamespaces: without them the operator reads the whole cluster by its ClusterRole" }}
{{- end }}
{{- if and (not $v.serviceAccount.create) $v.rbac.create (eq $v.serviceAccount.name "default") }}
{{- fail "serviceAccount.name: default would give the operator's rights to every pod of the namespace; name an account of its own" }}
{{- end }}
{{- range $key, $_ := $v.podLabels }}
{{- if or (hasPrefix "memkeep.io/" $key) (eq $key "app.kubernetes.io/name") }}
{{- fail (printf "podLabels: %s is what the operator's pods are selected by; take it out" $key) }}
{{- end }}
{{- end }}
{{- range $key, $_ := $v.commonLabels }}
{{- if or (hasPrefix "memkeep.io/" $key) (hasPrefix "client.memkeep.io/" $key) (eq $key "metrics.memkeep.io/operator") }}
{{- fail (printf "commonLabels: %s says who may connect to what; it is no label for every object" $key) }}
{{- end }}
{{- end }}
{{- if $v.podMonitor.enabled }}
{{- if not $v.metrics.enabled }}
{{- fail "podMonitor.enabled: true contradicts metrics.enabled: false; there would be nothing to scrape" }}
{{- end }}
{{- if not $v.podMonitor.tokenSecret.name }}
{{- fail "podMonitor.enabled: true needs podMonitor.tokenSecret.name: the managers ask who reads their metrics, and answer 401 without a token" }}
{{- end }}
{{- end }}
{{- if and $v.networkPolicy.egress.enabled (not $v.networkPolicy.enabled) }}
{{- fail "networkPolicy.egress.enabled: true contradicts networkPolicy.enabled: false" }}
{{- end }}
{{- if and (ne $v.admission.policies.access "Disabled") (not $v.admission.enabled) }}
{{- fail (printf "admission.policies.access: %s contradicts admission.enabled: false" $v.admission.policies.access) }}
{{- end }}
{{- range $v.cacheImage.alsoAllowed }}
{{- if regexMatch "['@ ]|:[^/]*$" . }}
{{- fail (printf "cacheImage.alsoAllowed: %q: write the image without tag and digest" .) }}
{{- end }}
{{- end }}
{{- end }}
