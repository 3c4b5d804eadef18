// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"
	"strings"
	"testing"
)

const (
	workloads = "memkeep-operator-workloads"
	children  = "memkeep-operator-children"

	firstImage = "/spec/template/spec/containers/0/image"
)

// set is a StatefulSet of a fleet. Each word "a=>b" of changes replaces a by b.
func set(changes ...string) string {
	doc := `{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: sessions, namespace: bare, ` + child + `},
spec: {serviceName: sessions, selector: {matchLabels: {memkeep.io/name: sessions}}, CLAIMS
  template: {metadata: {labels: {memkeep.io/name: sessions, memkeep.io/component: cache}}, spec: {
    automountServiceAccountToken: false, POD
    securityContext: {runAsNonRoot: true, PODSECURITY},
    volumes: [{name: tmp, emptyDir: {medium: Memory}}, VOLUME],
    initContainers: [INIT],
    containers: [{name: cache, image: ` + image + `, MORE ports: [{containerPort: 11211, PORT}],
      env: [{name: POD_IPS, valueFrom: {fieldRef: {fieldPath: status.podIPs}}}, {name: A, value: b}, ENV],
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL], CAPABILITY}, SECURITY}}]}}}}`
	for _, c := range changes {
		from, to, _ := strings.Cut(c, "=>")
		if !strings.Contains(doc, from) {
			panic("nothing to replace: " + c)
		}
		doc = strings.ReplaceAll(doc, from, to)
	}
	for _, place := range []string{
		", PODSECURITY", ", VOLUME", "INIT", "CLAIMS", "POD\n", "MORE ", ", PORT", ", ENV", ", CAPABILITY", ", SECURITY",
	} {
		doc = strings.ReplaceAll(doc, place, "")
	}
	return doc
}

func TestTheOperatorsWorkloads(t *testing.T) {
	var rows []row
	refuse := func(name, says string, changes ...string) {
		says = "the operator's StatefulSet sessions " + says
		rows = append(rows, row{name, operator, creates(set(changes...)), workloads, says})
	}
	pass := func(name string, changes ...string) {
		rows = append(rows, row{name, operator, creates(set(changes...)), "", ""})
	}
	const stranger = "runs "
	refuse("another image is refused", stranger+"example.com/evil, and fleets run memkeep.io/cache-server alone",
		image+"=>example.com/evil")
	refuse("an image whose name begins like ours is refused", stranger, image+"=>memkeep.io/cache-server-evil:v1")
	refuse("an image below ours is refused", stranger, image+"=>memkeep.io/cache-server/evil:v1")
	refuse("a registry's port that passes for a tag is refused", stranger, image+"=>memkeep.io/cache-server:5000/evil")
	refuse("an init container's image is judged as well", stranger, "INIT=>{name: i, image: example.com/evil}")
	pass("the cache's own work passes")
	pass("another tag of our image passes", image+"=>memkeep.io/cache-server:v9.9.9")
	pass("a digest of our image passes", image+"=>memkeep.io/cache-server@sha256:"+strings.Repeat("a", 64))
	pass("a helper of our image passes",
		"INIT=>{name: i, image: "+image+", securityContext: {allowPrivilegeEscalation: false}}")

	const volume = "has a volume that a cache has no use for"
	for _, v := range []string{
		"secret: {secretName: s}", "hostPath: {path: /}", "persistentVolumeClaim: {claimName: c}",
		"csi: {driver: d}", "nfs: {server: s, path: /}", "ephemeral: {volumeClaimTemplate: {spec: " +
			"{accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}",
		"projected: {sources: [{secret: {name: s}}]}",
		"projected: {sources: [{serviceAccountToken: {path: t, audience: a}}]}",
		"projected: {sources: [{configMap: {name: c}}, {secret: {name: s}}]}",
	} {
		refuse("the volume "+v+" is refused", volume, "VOLUME=>{name: v, "+v+"}")
	}
	pass("a projected ConfigMap passes", "VOLUME=>{name: v, projected: {sources: [{configMap: {name: c}}]}}")
	pass("a ConfigMap passes", "VOLUME=>{name: v, configMap: {name: c}}")
	pass("the pod's own fields pass", "VOLUME=>{name: v, downwardAPI: {items: []}}")

	const environment = "takes its environment from elsewhere"
	refuse("a Secret in the environment is refused", environment,
		"ENV=>{name: S, valueFrom: {secretKeyRef: {name: s, key: k}}}")
	refuse("a whole Secret in the environment is refused", environment, "MORE=>envFrom: [{secretRef: {name: s}}],")
	refuse("a Secret in an init container's environment is refused", environment, "INIT=>{name: i, image: "+image+
		", env: [{name: S, valueFrom: {secretKeyRef: {name: s, key: k}}}], securityContext: {allowPrivilegeEscalation: false}}")
	refuse("a token is refused", "would mount a ServiceAccount token",
		"automountServiceAccountToken: false=>automountServiceAccountToken: true")
	refuse("a token that is not refused by name is refused", "would mount a ServiceAccount token",
		"automountServiceAccountToken: false,=>")
	for _, p := range []string{"hostNetwork: true", "hostPID: true", "hostIPC: true"} {
		refuse(p+" is refused", "would share the node's network", "POD\n=>"+p+",\n")
	}
	refuse("a port of the node is refused", "would share the node's network", "PORT=>hostPort: 11211")
	refuse("a device is refused", "would share the node's network",
		"POD\n=>resourceClaims: [{name: d, resourceClaimName: c}],\n")
	const privileges = "would have privileges"
	refuse("privileged is refused", privileges, "SECURITY=>privileged: true",
		"allowPrivilegeEscalation: false=>allowPrivilegeEscalation: true")
	refuse("root is refused", privileges, "runAsNonRoot: true=>runAsNonRoot: false")
	refuse("root in a container is refused", privileges, "SECURITY=>runAsNonRoot: false")
	refuse("gaining privileges is refused", privileges, "allowPrivilegeEscalation: false,=>")
	refuse("an added capability is refused", privileges, "CAPABILITY=>add: [NET_ADMIN]")
	refuse("an unmasked /proc is refused", privileges, "SECURITY=>procMount: Unmasked", "POD\n=>hostUsers: false,\n")
	refuse("a claim is refused", "claims volumes", "CLAIMS=>volumeClaimTemplates: [{metadata: {name: c}, spec: "+
		"{accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}],")
	try(t, append(rows, []row{
		{"a change to another image is refused", operator,
			replaces("StatefulSet", "caches", "sessions", firstImage, `"example.com/evil"`), workloads, "example.com/evil"},
		{"a change to another tag passes", operator,
			replaces("StatefulSet", "caches", "sessions", firstImage, `"memkeep.io/cache-server:v2"`), "", ""},
		{"a fleet that older rules allowed is scaled", operator,
			replaces("StatefulSet", "old", "pinned", "/spec/replicas", "3"), "", ""},
		{"but its template changes to what the rules allow", operator,
			replaces("StatefulSet", "old", "pinned", firstImage, `"old.example.com/cache:v2"`), workloads, "pinned"},
		{"somebody else's image is nobody's business here", tenant,
			creates(strings.ReplaceAll(set(image+"=>example.com/app"), "memkeep.io/", "example.com/")), "", ""},
	}...))
}

// TestTheOperatorMakesStatefulSetsAlone gives the operator all rights and tries every other kind.
func TestTheOperatorMakesStatefulSetsAlone(t *testing.T) {
	const says = "it makes pods by StatefulSets alone"
	rows := []row{
		{"no pods", operator, creates(pod("bare", "evil", "{app: web}")), workloads, "the operator's Pod evil is refused: " + says},
		{"no change of a pod's image", operator,
			replaces("Pod", "caches", "web", "/spec/containers/0/image", `"example.com/evil"`), workloads, says},
		{"no ephemeral containers", operator, debug("caches", "web"), workloads, says},
		{"no revisions", operator, creates("{apiVersion: apps/v1, kind: ControllerRevision, revision: 2, data: {spec: {}}, " +
			"metadata: {name: web-2, namespace: caches, labels: {app: web}}}"), workloads, says},
	}
	for _, k := range kinds {
		if k.kind != "StatefulSet" {
			rows = append(rows, row{fmt.Sprintf("no %ss", k.kind), operator,
				creates(workload(k.version, k.kind, "bare", "evil", "{app: web}")), workloads, says})
		}
	}
	try(t, rows)
}

func TestTheOperatorsChildren(t *testing.T) {
	const says = "is no child of a Memcache"
	owned := func(doc string) string { return strings.Replace(doc, "namespace: bare", "namespace: bare, "+child, 1) }
	policy := func(selector string) string {
		return "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: sessions, namespace: bare}, " +
			"spec: {podSelector: " + selector + ", policyTypes: [Ingress]}}"
	}
	const account = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: sessions, namespace: bare}}"
	const budget = "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: sessions, namespace: bare}, " +
		"spec: {maxUnavailable: 1, selector: {matchLabels: {memkeep.io/name: sessions}}}}"
	ours := "{matchLabels: {memkeep.io/name: sessions}}"
	strange := strings.NewReplacer("kind: Memcache", "kind: ReplicaSet", "memkeep.io/v1alpha1", "apps/v1").Replace(set())
	try(t, []row{
		{"a Service of its own accord is refused", operator,
			creates(service("bare", "sessions", "ClusterIP", "{memkeep.io/name: sessions}")), children, says},
		{"an account is refused", operator, creates(account), children, "the operator's ServiceAccount sessions " + says},
		{"a NetworkPolicy is refused", operator, creates(policy(ours)), children, says},
		{"a budget is refused", operator, creates(budget), children, says},
		{"a StatefulSet of another owner is refused", operator, creates(strange), children, says},
		{"an owner that does not control is none", operator,
			creates(strings.Replace(owned(policy(ours)), "controller: true", "controller: false", 1)), children, says},
		{"somebody's Service is not changed", operator,
			patches("Service", "caches", "web", "", "{spec: {selector: {app: evil}}}"), children, "Service web " + says},
		{"somebody's Service is not made its own", operator,
			applies(strings.Replace(service("caches", "web", "ClusterIP", "{app: evil}"), "namespace: caches",
				"namespace: caches, "+child, 1)), children, "Service web " + says},
		{"its own Service is not given away", operator,
			patches("Service", "caches", "sessions", "", "{metadata: {ownerReferences: null}}"), children, says},
		{"a Service to the outside is refused", operator,
			creates(owned(service("bare", "sessions", "NodePort", "{app: web}"))), children, "reaches beyond the cluster"},
		{"external addresses are refused", operator,
			creates(owned(serviceOf("bare", "sessions", "selector: {app: web}, externalIPs: [192.0.2.1]"))),
			children, "reaches beyond the cluster"},
		{"a NetworkPolicy for other pods is refused", operator, creates(owned(policy("{matchLabels: {app: web}}"))),
			children, "selects pods that are no fleet's"},
		{"a NetworkPolicy for all pods is refused", operator, creates(owned(policy("{}"))), children, "no fleet's"},
		{"a template without the fleet's name is refused", operator,
			creates(set("{memkeep.io/name: sessions, memkeep.io/component: cache}=>{app: web}",
				"matchLabels: {memkeep.io/name: sessions}=>matchLabels: {app: web}")), children, "lacks the label memkeep.io/name"},
		{"a template with another fleet's name is refused", operator,
			creates(set("memkeep.io/name: sessions, memkeep.io/component=>memkeep.io/name: other, memkeep.io/component",
				"matchLabels: {memkeep.io/name: sessions}=>matchLabels: {memkeep.io/name: other}")), children, "lacks the label"},

		{"a fleet's Service passes", operator,
			creates(owned(service("bare", "sessions", "ClusterIP", "{memkeep.io/name: sessions}"))), "", ""},
		{"a fleet's account passes", operator, creates(owned(account)), "", ""},
		{"a fleet's NetworkPolicy passes", operator, creates(owned(policy(ours))), "", ""},
		{"a fleet's budget passes", operator, creates(owned(budget)), "", ""},
		{"a child that lost its label gets it back", operator,
			patches("Service", "caches", "sessions", "", "{metadata: {labels: {app.kubernetes.io/managed-by: memkeep}}}"),
			"", ""},
		{"in its own namespace it may have others", operator,
			creates("{apiVersion: v1, kind: ServiceAccount, metadata: {name: other, namespace: memkeep-system}}"), "", ""},
		{"the policies of others are nobody's business here", tenant, creates(policy("{}")), "", ""},
	})
}
