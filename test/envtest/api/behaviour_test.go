// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	applyv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1/applyconfiguration/api/v1alpha1"
)

func TestAFreshObjectHasOneReplicaAndWasNotSeen(t *testing.T) {
	u := memcache(t, "fresh", "{memory: 64Mi}")
	u.Object["status"] = map[string]any{"observedGeneration": int64(1), "readyReplicas": int64(7)}
	create(t, u)
	if got, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas"); got != 1 {
		t.Errorf("spec.replicas is %d, want the default 1", got)
	}
	status, _, _ := unstructured.NestedMap(u.Object, "status")
	if len(status) != 1 || status["observedGeneration"] != int64(-1) {
		t.Errorf("status is %v, want observedGeneration -1 alone: users cannot write status", status)
	}
	spec, _, _ := unstructured.NestedMap(u.Object, "spec")
	if len(spec) != 2 {
		t.Errorf("spec is %v, want memory and replicas: nothing else has a default", spec)
	}
}

func TestAnUnknownFieldIsRefused(t *testing.T) {
	err := kube.Create(t.Context(), memcache(t, "typo", "{memory: 64Mi, acess: {}}"), client.DryRunAll)
	if !apierrors.IsBadRequest(err) {
		t.Fatalf("got %v, want a strict decoding error", err)
	}
}

func TestScaleSubresource(t *testing.T) {
	u := memcache(t, "scaled", "{memory: 64Mi, replicas: 2}")
	create(t, u)
	m := typed(t, "scaled")
	m.Status.Selector = "memkeep.io/name=scaled"
	m.Status.Replicas = 2
	if err := kube.Status().Update(t.Context(), m); err != nil {
		t.Fatalf("update status: %v", err)
	}

	scale := &autoscalingv1.Scale{}
	if err := kube.SubResource("scale").Get(t.Context(), m, scale); err != nil {
		t.Fatalf("get scale: %v", err)
	}
	if scale.Spec.Replicas != 2 || scale.Status.Replicas != 2 || scale.Status.Selector != "memkeep.io/name=scaled" {
		t.Errorf("scale is %+v %+v, want 2 of 2 and the selector of status", scale.Spec, scale.Status)
	}
	for _, n := range []int32{0, 100} {
		scale.Spec.Replicas = n
		if err := kube.SubResource("scale").Update(t.Context(), m, client.WithSubResourceBody(scale)); err != nil {
			t.Fatalf("scale to %d: %v", n, err)
		}
		if got := typed(t, "scaled").Spec.Replicas; got == nil || *got != n {
			t.Errorf("spec.replicas is %v, want %d", got, n)
		}
	}
	scale.Spec.Replicas = 101
	err := kube.SubResource("scale").Update(t.Context(), m, client.WithSubResourceBody(scale))
	if !apierrors.IsInvalid(err) {
		t.Errorf("scale to 101: got %v, want it refused", err)
	}
}

// team applies one client as a field manager of its own, as two Git repositories would.
func team(t *testing.T, owner, client1, label string) error {
	t.Helper()
	labels := map[string]memkeepv1alpha1.LabelValue{"team": memkeepv1alpha1.LabelValue(label)}
	entry := applyv1alpha1.Peer().WithName(client1).WithNamespaceSelector(
		applyv1alpha1.LabelSelector().WithMatchLabels(labels))
	return kube.Apply(t.Context(), applyv1alpha1.Memcache("shared", "caches").WithSpec(
		applyv1alpha1.MemcacheSpec().WithAccess(applyv1alpha1.AccessSpec().WithClients(entry))), client.FieldOwner(owner))
}

func TestTwoOwnersMergeTheirClientsByName(t *testing.T) {
	create(t, memcache(t, "shared", "{memory: 64Mi}"))
	for _, name := range []string{"web", "batch"} {
		if err := team(t, "team-"+name, name, name); err != nil {
			t.Fatalf("apply %s: %v", name, err)
		}
	}
	if got := clientNames(t, "shared"); len(got) != 2 || got["web"] != "web" || got["batch"] != "batch" {
		t.Fatalf("clients are %v, want both teams' entries", got)
	}
	if err := team(t, "team-batch", "web", "batch"); !apierrors.IsConflict(err) {
		t.Errorf("batch changing web's selector: got %v, want a conflict", err)
	}
	none := applyv1alpha1.Memcache("shared", "caches").WithSpec(applyv1alpha1.MemcacheSpec())
	if err := kube.Apply(t.Context(), none, client.FieldOwner("team-batch")); err != nil {
		t.Fatalf("take batch's entry away: %v", err)
	}
	if got := clientNames(t, "shared"); len(got) != 1 || got["web"] != "web" {
		t.Errorf("clients are %v, want web's entry alone", got)
	}
	m := typed(t, "shared")
	if m.Spec.Memory.Cmp(resource.MustParse("64Mi")) != 0 {
		t.Errorf("memory is %s, want what its creator wrote", m.Spec.Memory.String())
	}
}

// TestASelectorIsOneValue makes sure that two owners never share one selector:
// half of it from each would admit whom neither meant.
func TestASelectorIsOneValue(t *testing.T) {
	create(t, memcache(t, "shared", "{memory: 64Mi}"))
	if err := team(t, "one", "web", "shop"); err != nil {
		t.Fatal(err)
	}
	more := applyv1alpha1.Peer().WithName("web").WithNamespaceSelector(applyv1alpha1.LabelSelector().
		WithMatchLabels(map[string]memkeepv1alpha1.LabelValue{"stage": "live"}))
	err := kube.Apply(t.Context(), applyv1alpha1.Memcache("shared", "caches").WithSpec(
		applyv1alpha1.MemcacheSpec().WithAccess(applyv1alpha1.AccessSpec().WithClients(more))), client.FieldOwner("two"))
	if !apierrors.IsConflict(err) {
		t.Errorf("a second owner adding a label to a selector: got %v, want a conflict", err)
	}
}

// typed reads a Memcache as Go programs see it.
func typed(t *testing.T, name string) *memkeepv1alpha1.Memcache {
	t.Helper()
	m := &memkeepv1alpha1.Memcache{}
	if err := kube.Get(t.Context(), client.ObjectKey{Namespace: "caches", Name: name}, m); err != nil {
		t.Fatalf("get %s: %v", name, err)
	}
	return m
}

// clientNames returns each client's team label by the client's name.
func clientNames(t *testing.T, name string) map[string]memkeepv1alpha1.LabelValue {
	t.Helper()
	out := map[string]memkeepv1alpha1.LabelValue{}
	for _, c := range typed(t, name).Spec.Access.Clients {
		out[c.Name] = c.NamespaceSelector.MatchLabels["team"]
	}
	return out
}

// TestStricterRulesLetStoredObjectsLive stores an object under a definition
// without rules, adds the rules, and changes something else.
func TestStricterRulesLetStoredObjectsLive(t *testing.T) {
	strict := definitionOf(t, "ratchet.example.com")
	loose := strict.DeepCopy()
	schema := loose.Spec.Versions[0].Schema.OpenAPIV3Schema
	walk("", schema, func(_ string, s *schemaProps) { s.XValidations = nil })
	install(t, loose)

	u := memcache(t, "stored",
		with("access: {clients: [{name: BAD_NAME, namespaceSelector: {matchLabels: {team: shop}}}]}"))
	u.SetAPIVersion("ratchet.example.com/v1alpha1")
	create(t, u)
	install(t, strict)

	change := func(f func(u *unstructured.Unstructured)) error {
		now := &unstructured.Unstructured{}
		now.SetGroupVersionKind(u.GroupVersionKind())
		if err := kube.Get(t.Context(), client.ObjectKeyFromObject(u), now); err != nil {
			return err
		}
		f(now)
		return kube.Update(t.Context(), now)
	}
	eventually(t, "the rules are in force", func() bool {
		other := memcache(t, "other", "{memory: 1Mi}")
		other.SetAPIVersion("ratchet.example.com/v1alpha1")
		return apierrors.IsInvalid(kube.Create(t.Context(), other, client.DryRunAll))
	})
	if err := change(func(u *unstructured.Unstructured) { set(t, u, int64(3), "spec", "replicas") }); err != nil {
		t.Errorf("scale an object with a name that became illegal: %v", err)
	}
	err := change(func(u *unstructured.Unstructured) {
		list, _, _ := unstructured.NestedSlice(u.Object, "spec", "access", "clients")
		list[0].(map[string]any)["name"] = "STILL_BAD" //nolint:forcetypeassert // The test wrote this list.
		set(t, u, list, "spec", "access", "clients")
	})
	expect(t, err, "spec.access.clients[0].name", "the name of a peer is a DNS label")
}

func set(t *testing.T, u *unstructured.Unstructured, value any, path ...string) {
	t.Helper()
	if err := unstructured.SetNestedField(u.Object, value, path...); err != nil {
		t.Fatal(err)
	}
}
