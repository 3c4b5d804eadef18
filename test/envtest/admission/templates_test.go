// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	templates     = "memkeep-templates"
	revisions     = "memkeep-revisions"
	ofTheOperator = "is the operator's to write"
)

// kinds are all built-in kinds that make pods.
var kinds = []struct{ version, kind string }{
	{"v1", "ReplicationController"}, {"v1", "PodTemplate"},
	{"apps/v1", "Deployment"}, {"apps/v1", "ReplicaSet"}, {"apps/v1", "DaemonSet"}, {"apps/v1", "StatefulSet"},
	{"batch/v1", "Job"}, {"batch/v1", "CronJob"},
}

func TestTemplatesOfEveryKind(t *testing.T) {
	for _, k := range kinds {
		create := func(labels string) action { return creates(workload(k.version, k.kind, "caches", "evil", labels)) }
		names := func(what string) string { return fmt.Sprintf("%s: %s", k.kind, what) }
		try(t, []row{
			{names("a fleet's name in the template is refused"), tenant, create("{memkeep.io/name: sessions}"), templates,
				k.kind + " evil makes pods that pass for members of a fleet"},
			{names("the cache's component in the template is refused"), tenant,
				create("{app: web, memkeep.io/component: cache}"), templates, ofTheOperator},
			{names("an administrator is told the same"), admin, create("{memkeep.io/name: sessions}"), templates, ofTheOperator},
			{names("server-side apply is no way around"), tenant,
				applies(workload(k.version, k.kind, "caches", "evil", "{memkeep.io/name: sessions}")), templates, ofTheOperator},
			{names("an app's template passes"), tenant, create("{app: web}"), "", ""},
			{names("the probers' template passes"), tenant, create("{memkeep.io/component: prober}"), "", ""},
		})
	}
}

func TestTemplatesThatChange(t *testing.T) {
	const fleetLabel = "{spec: {template: {metadata: {labels: {memkeep.io/name: sessions}}}}}"
	try(t, []row{
		{"an app's Deployment does not turn to a fleet", tenant,
			patches("Deployment", "caches", "web", "", fleetLabel), templates, "Deployment web"},
		{"an app's StatefulSet does not turn to a fleet", tenant,
			patches("StatefulSet", "caches", "web", "", fleetLabel), templates, "StatefulSet web"},
		{"an app's StatefulSet that is written whole does not", tenant,
			updates("StatefulSet", "caches", "web", fleetLabel), templates, "StatefulSet web"},
		{"a fleet's template gets no other image", tenant, replaces("StatefulSet", "caches", "sessions",
			firstImage, `"example.com/evil"`),
			templates, "To change a fleet edit its Memcache"},
		{"a fleet's template does not lose its labels", tenant, patches("StatefulSet", "caches", "sessions", "",
			"{spec: {template: {metadata: {labels: {app.kubernetes.io/managed-by: null}}}}}"), templates, "StatefulSet sessions"},
		{"a fleet's template is not restarted as `kubectl rollout restart` does", tenant,
			patches("StatefulSet", "caches", "sessions", "",
				"{spec: {template: {metadata: {annotations: {kubectl.kubernetes.io/restartedAt: now}}}}}"),
			templates, "the annotation memkeep.io/update for new pods"},
		{"the annotation that pins the template is the operator's", tenant, patches("StatefulSet", "caches", "sessions", "",
			"{metadata: {annotations: {memkeep.io/template: '{}'}}}"), templates, ofTheOperator},
		{"so it is by way of the status", tenant, patches("StatefulSet", "caches", "sessions", "status",
			"{metadata: {annotations: {memkeep.io/template: '{}'}}}"), templates, ofTheOperator},
		{"an administrator is told the same", admin, patches("StatefulSet", "caches", "sessions", "",
			"{spec: {replicas: 7}}"), templates, "spec.replicas"},
		{"a fleet's labels stay on its StatefulSet", tenant, patches("StatefulSet", "caches", "sessions", "",
			"{metadata: {labels: {memkeep.io/name: null}}}"), templates, ofTheOperator},

		{"a CronJob from before the policies does not change beside its labels", tenant,
			patches("CronJob", "old", "planted", "", "{spec: {schedule: '1 * * * *'}}"), templates, "CronJob planted"},

		{"but it loses them", tenant, patches("CronJob", "old", "planted", "",
			"{spec: {jobTemplate: {spec: {template: {metadata: {labels: {memkeep.io/name: null}}}}}}}"), "", ""},
		{"the operator scales its StatefulSet", operator, patches("StatefulSet", "caches", "sessions", "",
			"{spec: {replicas: 7}}"), "", ""},
		{"Kubernetes writes the status", statefulSets, patches("StatefulSet", "caches", "sessions", "status",
			"{status: {replicas: 1}}"), "", ""},
		{"the collector takes an owner and a finalizer away", collector, patches("StatefulSet", "caches", "sessions", "",
			"{metadata: {ownerReferences: null, finalizers: null}}"), "", ""},
		{"an app's Deployment is scaled", tenant, patches("Deployment", "caches", "web", "", "{spec: {replicas: 3}}"), "", ""},
		{"an app's Deployment is scaled by its subresource", tenant,
			patches("Deployment", "caches", "web", "scale", "{spec: {replicas: 3}}"), "", ""},
		// Labels do not pass through it, and the operator takes the number back.
		{"a fleet's StatefulSet is scaled by its subresource", tenant,
			patches("StatefulSet", "caches", "sessions", "scale", "{spec: {replicas: 3}}"), "", ""},
	})
}

// TestAFleetsSelectorStays shows what the policy about templates relies on.
func TestAFleetsSelectorStays(t *testing.T) {
	c, err := as(operator)
	if err != nil {
		t.Fatal(err)
	}
	for _, patch := range []string{
		"{spec: {selector: {matchLabels: {memkeep.io/name: null}}}}",
		"{spec: {template: {metadata: {labels: {memkeep.io/name: null}}}}}",
	} {
		if err := patches("StatefulSet", "caches", "sessions", "", patch)(t.Context(), c); !apierrors.IsInvalid(err) {
			t.Errorf("%s: got %v, want it invalid", patch, err)
		}
	}
}

func TestRevisionsOfFleets(t *testing.T) {
	revision := func(labels string) string {
		return "{apiVersion: apps/v1, kind: ControllerRevision, revision: 2, data: {spec: {}}, " +
			"metadata: {name: sessions-2, namespace: caches, labels: " + labels + "}}"
	}
	const says = "holds the template of a fleet's pods"
	try(t, []row{
		{"nobody plants a revision of a fleet", tenant, creates(revision("{memkeep.io/name: sessions}")), revisions,
			"ControllerRevision sessions-2 " + says},
		{"not an administrator either", admin, creates(revision("{memkeep.io/name: sessions}")), revisions, says},
		{"nobody brings an old one to the front", tenant,
			patches("ControllerRevision", "caches", "sessions-1", "", "{revision: 9}"), revisions, says},
		{"nobody hides one", tenant, patches("ControllerRevision", "caches", "sessions-1", "",
			"{metadata: {labels: {memkeep.io/name: null}}}"), revisions, says},
		{"the StatefulSet controller makes one", statefulSets, creates(revision("{memkeep.io/name: sessions}")), "", ""},
		{"the controller manager makes one", controllerManager, creates(revision("{memkeep.io/name: sessions}")), "", ""},
		{"the StatefulSet controller brings one to the front", statefulSets,
			patches("ControllerRevision", "caches", "sessions-1", "", "{revision: 9}"), "", ""},
		{"the collector orphans one", collector,
			patches("ControllerRevision", "caches", "sessions-1", "", "{metadata: {ownerReferences: null}}"), "", ""},
		{"a revision of an app passes", tenant, creates(revision("{app: web}")), "", ""},
	})
}
