// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"
	"testing"
)

const (
	podLabels      = "memkeep-pods"
	podBindings    = "memkeep-pod-bindings"
	ephemeral      = "memkeep-ephemeral-containers"
	passForMembers = "would pass for a member of the fleet \"sessions\""
	selectedBy     = "are what NetworkPolicies and Services select it by"
)

func TestPodsThatPassForMembers(t *testing.T) {
	try(t, []row{
		{"a tenant's pod with a fleet's label is refused", tenant,
			creates(pod("caches", "evil", "{memkeep.io/name: sessions}")), podLabels, "pod evil " + passForMembers},
		{"so it is in a namespace without fleets", tenant,
			creates(pod("bare", "evil", "{memkeep.io/name: sessions}")), podLabels, passForMembers},
		{"an empty name is a name", tenant, creates(pod("caches", "evil", `{memkeep.io/name: ""}`)), podLabels, "pod evil"},
		{"an administrator is told the same", admin,
			creates(pod("caches", "evil", "{memkeep.io/name: sessions}")), podLabels, passForMembers},
		{"another controller of Kubernetes makes no member", replicaSets,
			creates(member("sessions-1", "sessions", "")), podLabels, passForMembers},
		{"a forged owner helps nobody", tenant, creates(member("sessions-1", "sessions", "")), podLabels, passForMembers},
		{"the StatefulSet controller makes no member for a set of another name", statefulSets,
			creates(member("other-0", "other", "")), podLabels, passForMembers},
		{"the controller manager makes no member without an owner", controllerManager,
			creates(pod("caches", "evil", "{memkeep.io/name: sessions}")), podLabels, passForMembers},
		{"server-side apply is no way around", tenant,
			applies(pod("caches", "evil", "{memkeep.io/name: sessions}")), podLabels, passForMembers},
		{"a running pod does not become a member", tenant,
			patches("Pod", "caches", "web", "", "{metadata: {labels: {memkeep.io/name: sessions}}}"),
			podLabels, "no member of a fleet gets no label"},
		{"nor does it by way of its status", tenant,
			patches("Pod", "caches", "web", "status", "{metadata: {labels: {memkeep.io/name: sessions}}}"),
			podLabels, "pod web"},
		{"nor does it when it is written whole", tenant,
			updates("Pod", "caches", "web", "{metadata: {labels: {memkeep.io/name: sessions}}}"), podLabels, "pod web"},

		{"the StatefulSet controller's account makes a member", statefulSets,
			creates(member("sessions-1", "sessions", "")), "", ""},
		{"the controller manager under its own name makes a member", controllerManager,
			creates(member("sessions-1", "sessions", "")), "", ""},
		{"a pod of an app passes", tenant, creates(pod("caches", "mine", "{app: web}")), "", ""},
		{"a pod without labels passes", tenant, creates(pod("caches", "mine", "{}")), "", ""},
		{"Memkeep's other pods pass", tenant, creates(pod("bare", "prober", "{memkeep.io/component: prober}")), "", ""},
		{"a running pod gets another label", tenant,
			patches("Pod", "caches", "web", "", "{metadata: {labels: {team: shop}}}"), "", ""},
	})
}

func TestLabelsOfMembers(t *testing.T) {
	label := func(labels string) string { return "{metadata: {labels: {" + labels + "}}}" }
	var rows []row
	for _, key := range []string{
		"memkeep.io/name", "memkeep.io/component", "app.kubernetes.io/managed-by", "istio.io/dataplane-mode",
		"controller-revision-hash",
	} {
		for _, way := range []string{"", "status"} {
			rows = append(rows, row{fmt.Sprintf("%s is not taken away %s", key, way), tenant,
				patches("Pod", "caches", "sessions-0", way, label(key+": null")), podLabels, "pod sessions-0 " + selectedBy})
		}
	}
	try(t, append(rows, []row{
		{"all labels together are not taken away", tenant,
			updates("Pod", "caches", "sessions-0", "{metadata: {labels: null}}"), podLabels, selectedBy},
		{"a member does not change to another fleet", tenant,
			patches("Pod", "caches", "sessions-0", "", label("memkeep.io/name: other")), podLabels, selectedBy},
		{"no label of an app is added, by which its Service would pick the pod", tenant,
			patches("Pod", "caches", "sessions-0", "", label("app: web")), podLabels, "Write an annotation"},
		{"an administrator is told the same", admin,
			patches("Pod", "caches", "sessions-0", "", label("memkeep.io/name: null")), podLabels, selectedBy},
		{"the StatefulSet controller does not change the fleet", statefulSets,
			patches("Pod", "caches", "sessions-0", "", label("memkeep.io/name: other")), podLabels, selectedBy},
		{"the StatefulSet controller takes no label away", controllerManager,
			patches("Pod", "caches", "sessions-0", "", label("memkeep.io/component: null")), podLabels, selectedBy},
		{"server-side apply is no way around", tenant,
			applies(pod("caches", "sessions-0", "{app: web}")), podLabels, selectedBy},

		{"an annotation passes", tenant,
			patches("Pod", "caches", "sessions-0", "", "{metadata: {annotations: {note: mine}}}"), "", ""},
		{"a status that leaves labels alone passes", tenant,
			patches("Pod", "caches", "sessions-0", "status", "{status: {phase: Running}}"), "", ""},
		{"the StatefulSet controller sets its own labels", statefulSets,
			patches("Pod", "caches", "sessions-0", "", label("apps.kubernetes.io/pod-index: '0'")), "", ""},
		{"the collector orphans a member", collector,
			patches("Pod", "caches", "sessions-0", "", "{metadata: {ownerReferences: null}}"), "", ""},
	}...))
}

func TestBindings(t *testing.T) {
	bind := func(labels string) string {
		return "{apiVersion: v1, kind: Binding, metadata: {name: web, namespace: caches, labels: " + labels +
			"}, target: {kind: Node, name: n1}}"
	}
	const says = "the Binding of pod web has labels that would be copied onto the pod"
	try(t, []row{
		{"a Binding does not carry a fleet's name onto a pod", tenant,
			creates(bind("{memkeep.io/name: sessions}")), podBindings, says},
		{"a Binding does not carry another component onto a member", tenant,
			creates(bind("{memkeep.io/component: none}")), podBindings, says},
		{"a Binding does not hide a pod from the operator", admin,
			creates(bind("{app.kubernetes.io/managed-by: me}")), podBindings, says},
		{"a Binding with the node's zone passes", tenant, creates(bind("{topology.kubernetes.io/zone: a}")), "", ""},
		{"a Binding without labels passes", tenant, creates(bind("{}")), "", ""},
	})
	for _, labels := range []string{"{memkeep.io/name: sessions}", "{topology.kubernetes.io/zone: a}"} {
		r := row{"the pod's own subresource is judged as well: " + labels, tenant, binds(bind(labels)), podBindings, says}
		if labels != "{memkeep.io/name: sessions}" {
			r.policy, r.says = "", ""
		}
		try(t, []row{r})
	}
}

// debug adds an ephemeral container, as `kubectl debug` does.
func debug(namespace, pod string) action {
	return patches("Pod", namespace, pod, "ephemeralcontainers",
		"{spec: {ephemeralContainers: [{name: debug, image: example.com/shell}]}}")
}

func TestEphemeralContainers(t *testing.T) {
	try(t, []row{
		{"a member gets no ephemeral container", tenant, debug("caches", "sessions-0"), ephemeral,
			"an ephemeral container in pod sessions-0 would share the network of a cache"},
		{"not from an administrator either", admin, debug("caches", "sessions-0"), ephemeral, "Run a pod of your own"},
		{"an app's pod gets one", tenant, debug("caches", "web"), "", ""},
	})
}
