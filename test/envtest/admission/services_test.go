// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"errors"
	"testing"
)

const (
	byName     = "memkeep-exposed-services"
	beside     = "memkeep-fleet-namespaces"
	newFleets  = "memkeep-new-fleets"
	labelsOfUs = "a label that only Memkeep's pods carry"
	ofAnyPod   = "its selector asks for labels alone that Kubernetes or a mesh puts on every pod"
)

func TestServicesThatNameFleets(t *testing.T) {
	external := func(selector string) string {
		return serviceOf("bare", "evil", "externalIPs: [192.0.2.1], selector: "+selector)
	}
	flip := func(spec string) string { return "{spec: " + spec + "}" }
	try(t, []row{
		{"a LoadBalancer for a fleet's name is refused", tenant,
			creates(service("caches", "evil", "LoadBalancer", "{memkeep.io/name: sessions}")), byName,
			"Service evil would open"},
		{"so is a NodePort", tenant,
			creates(service("caches", "evil", "NodePort", "{memkeep.io/name: sessions}")), byName, "Write type: ClusterIP"},
		{"so are external addresses", tenant, creates(external("{memkeep.io/name: sessions}")), byName, labelsOfUs},
		{"so it is in a namespace without fleets, where one may come", tenant,
			creates(service("bare", "evil", "LoadBalancer", "{memkeep.io/name: sessions}")), byName, labelsOfUs},
		{"another label beside makes it no better", tenant,
			creates(service("caches", "evil", "LoadBalancer", "{memkeep.io/name: sessions, app: web}")), byName, labelsOfUs},
		{"the component's label is enough", tenant,
			creates(service("caches", "evil", "LoadBalancer", "{memkeep.io/component: cache}")), byName, labelsOfUs},
		{"the manager's label is enough", tenant,
			creates(service("caches", "evil", "NodePort", "{app.kubernetes.io/managed-by: memkeep}")), byName, labelsOfUs},
		{"an administrator is told the same", admin,
			creates(service("caches", "evil", "LoadBalancer", "{memkeep.io/name: sessions}")), byName, labelsOfUs},
		{"server-side apply is no way around", tenant,
			applies(service("caches", "evil", "LoadBalancer", "{memkeep.io/name: sessions}")), byName, labelsOfUs},
		{"a Service that becomes a LoadBalancer is refused", tenant,
			patches("Service", "caches", "named", "", flip("{type: LoadBalancer}")), byName, "Service named"},
		{"a Service that becomes a NodePort by server-side apply is refused", tenant,
			applies(service("caches", "named", "NodePort", "{memkeep.io/name: sessions}")), byName, "Service named"},
		{"a Service that is written whole with an external address is refused", tenant,
			updates("Service", "caches", "named", flip("{externalIPs: [192.0.2.1]}")), byName, "Service named"},
		{"the operator's own Service does not become one", tenant,
			patches("Service", "caches", "sessions", "", flip("{externalIPs: [192.0.2.1]}")),
			byName, "Service sessions"},
		{"a LoadBalancer that turns to a fleet is refused", tenant,
			patches("Service", "caches", "out", "", flip("{selector: {memkeep.io/name: sessions}}")), byName, "Service out"},

		{"a LoadBalancer from before the policies opens no further", tenant,
			patches("Service", "old", "out", "", flip("{ports: [{port: 11212}]}")), byName, "Service out"},

		{"but it can be labelled, so that what cleans it up can delete it", tenant,
			patches("Service", "old", "out", "", "{metadata: {labels: {a: b}, finalizers: null}}"), "", ""},
		{"and it can be closed", tenant, patches("Service", "old", "out", "", flip("{type: ClusterIP}")), "", ""},
		{"a ClusterIP for a fleet's name passes", tenant,
			creates(service("caches", "mine", "ClusterIP", "{memkeep.io/name: sessions}")), "", ""},
		{"a LoadBalancer for an app passes beside a fleet", tenant,
			creates(service("caches", "mine", "LoadBalancer", "{app: web}")), "", ""},
		{"labels of Memkeep's other pods are not a fleet's", tenant,
			creates(service("caches", "mine", "LoadBalancer", "{memkeep.io/component: operator}")), "", ""},
		{"what somebody else manages is not Memkeep's", tenant,
			creates(service("caches", "mine", "LoadBalancer", "{app.kubernetes.io/managed-by: Helm}")), "", ""},
		{"another name outside passes", tenant,
			creates(serviceOf("caches", "mine", "type: ExternalName, externalName: example.com")), "", ""},
		{"a LoadBalancer becomes a ClusterIP", tenant,
			patches("Service", "caches", "out", "", flip("{type: ClusterIP}")), "", ""},
		{"the status subresource leaves the type alone, so its label passes", tenant,
			patches("Service", "caches", "named", "status", "{metadata: {labels: {a: b}}, spec: {type: LoadBalancer}}"), "", ""},
	})
}

func TestServicesBesideFleets(t *testing.T) {
	create := func(ns, selector string) action { return creates(service(ns, "evil", "LoadBalancer", selector)) }
	try(t, []row{
		{"a pod's own name is refused", tenant,
			create("caches", "{statefulset.kubernetes.io/pod-name: sessions-0}"), beside, ofAnyPod},
		{"a pod's ordinal is refused", tenant, create("caches", "{apps.kubernetes.io/pod-index: '0'}"), beside, ofAnyPod},
		{"a revision is refused", tenant, create("caches", "{controller-revision-hash: sessions-1}"), beside, ofAnyPod},
		{"a zone is refused", tenant, create("caches", "{topology.kubernetes.io/zone: a}"), beside, ofAnyPod},
		{"a mesh's label is refused", tenant, create("caches", "{istio.io/dataplane-mode: none}"), beside, ofAnyPod},
		{"the other mesh's label is refused", tenant,
			create("caches", "{sidecar.istio.io/inject: 'false'}"), beside, ofAnyPod},
		{"several of them together are refused", tenant,
			create("caches", "{istio.io/dataplane-mode: none, apps.kubernetes.io/pod-index: '1'}"), beside, "Memcache sessions"},
		{"no selector at all is refused", tenant,
			creates(serviceOf("caches", "evil", "type: LoadBalancer")), beside, "it has no selector"},
		{"an empty selector is refused", tenant, create("caches", "{}"), beside, "Service evil could open"},
		{"external addresses without selector are refused", tenant,
			creates(serviceOf("caches", "evil", "externalIPs: [192.0.2.1]")), beside, "it has no selector"},
		{"a LoadBalancer that loses its app is refused", tenant,
			patches("Service", "caches", "out", "", "{spec: {selector: {app: null, apps.kubernetes.io/pod-index: '0'}}}"),
			beside, "Service out"},
		{"a LoadBalancer that loses its selector is refused", tenant,
			updates("Service", "caches", "out", "{spec: {selector: null}}"), beside, "Service out"},

		{"an app's label beside the ordinal passes", tenant,
			create("caches", "{app: db, apps.kubernetes.io/pod-index: '0'}"), "", ""},
		{"another set's pod passes", tenant, create("caches", "{statefulset.kubernetes.io/pod-name: kafka-0}"), "", ""},
		{"a set whose name begins like the fleet's passes", tenant,
			create("caches", "{statefulset.kubernetes.io/pod-name: sessions-db-0}"), "", ""},
		{"another set's revision passes", tenant, create("caches", "{controller-revision-hash: kafka-1}"), "", ""},
		{"a revision of a DaemonSet passes", tenant, create("caches", "{controller-revision-hash: 5d4f}"), "", ""},
		{"pods inside a mesh are no fleet's", tenant, create("caches", "{istio.io/dataplane-mode: ambient}"), "", ""},
		{"where there is no fleet an ordinal passes", tenant, create("bare", "{apps.kubernetes.io/pod-index: '0'}"), "", ""},
		{"where there is no fleet a pod's name passes", tenant,
			create("bare", "{statefulset.kubernetes.io/pod-name: mongo-0}"), "", ""},
		{"where there is no fleet a gateway without selector passes", tenant,
			creates(serviceOf("bare", "gateway", "type: LoadBalancer")), "", ""},
		{"a ClusterIP without selector passes", tenant, creates(serviceOf("caches", "mine", "type: ClusterIP")), "", ""},
	})
}

func TestServicesThatWaitForFleets(t *testing.T) {
	for _, doc := range []string{
		service("bare", "ordinal", "LoadBalancer", "{statefulset.kubernetes.io/pod-name: late-0}"),
		service("bare", "other", "NodePort", "{statefulset.kubernetes.io/pod-name: kafka-0}"),
		serviceOf("bare", "gateway", "type: LoadBalancer"),
	} {
		store(t, tenant, doc)
	}
	create := func(name string) action { return creates(fleet("bare", name, "{}")) }
	if err := eventually(t.Context(), "the Services to be known", func() error {
		if !refuses(t, tenant, create("late")) {
			return errors.New("the fleet may be made")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	try(t, []row{
		{"a fleet is not born behind a Service that waits for its pods", tenant, create("late"), newFleets,
			"Service ordinal of type LoadBalancer picks its pods"},
		{"a fleet of another name is", tenant, create("later"), "", ""},
		{"a fleet is born in another namespace", tenant, creates(fleet("caches", "late", "{}")), "", ""},
	})
}
