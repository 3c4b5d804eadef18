// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

func TestAFleetHasExactlyItsChildren(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.standard()
	s.create(s.fleet("sessions", 3))
	m := s.ready("sessions")

	policy := &networkingv1.NetworkPolicy{}
	set := &appsv1.StatefulSet{}
	for name, o := range map[string]client.Object{
		"policy": policy, "set": set, "ring": &corev1.Service{}, "account": &corev1.ServiceAccount{},
		"budget": &policyv1.PodDisruptionBudget{},
	} {
		if !s.get(o, "sessions") {
			t.Fatalf("%s is not there", name)
		}
		if !metav1.IsControlledBy(o, m) {
			t.Errorf("%s is not controlled by the Memcache: %v", name, o.GetOwnerReferences())
		}
		if len(o.GetLabels()) != 2 || o.GetLabels()[v1alpha1.LabelName] != "sessions" {
			t.Errorf("labels of %s are %v", name, o.GetLabels())
		}
	}
	if !slices.Contains(policy.Finalizers, metav1.FinalizerDeleteDependents) {
		t.Errorf("the policy's finalizers are %v", policy.Finalizers)
	}
	deny := &networkingv1.NetworkPolicy{}
	if !s.get(deny, "sessions-deny") || len(deny.Spec.Ingress)+len(deny.Spec.Egress) != 0 {
		t.Errorf("the policy that admits nobody is %+v", deny)
	}
	for child, want := range map[client.Object][]types.UID{
		policy: {m.UID, deny.UID}, set: {m.UID, policy.UID, deny.UID},
	} {
		if got := ownersOf(child); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			t.Errorf("owners of %T are %+v", child, child.GetOwnerReferences())
		}
	}
	pods := s.pods()
	if len(pods) != 3 {
		t.Fatalf("%d pods, want 3", len(pods))
	}
	for _, p := range pods {
		// One volume, the CA, without which a pod starts as well.
		v := p.Spec.Volumes
		if len(v) != 1 || v[0].ConfigMap == nil || !*v[0].ConfigMap.Optional || p.Spec.Containers[0].Image != image {
			t.Errorf("pod %s has volumes %v, image %s", p.Name, p.Spec.Volumes, p.Spec.Containers[0].Image)
		}
	}
	if m.Status.ReadyReplicas != 3 || m.Status.UpdatedReplicas != 3 || len(m.Status.Members) != 3 {
		t.Errorf("status is %+v", m.Status)
	}
	if got := m.Status.Endpoints.Ring; got != "sessions."+s.namespace+".svc:11211" {
		t.Errorf("ring is %s", got)
	}
}

func TestTheReadyServicePicksReadyMembersAndTheRingAll(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.standard()
	s.create(s.fleet("sessions", 1))
	s.ready("sessions")
	ring, ready := &corev1.Service{}, &corev1.Service{}
	if !s.get(ring, "sessions") || !s.get(ready, "sessions-ready") {
		t.Fatal("a Service is not there")
	}
	if ring.Spec.ClusterIP != corev1.ClusterIPNone || !ring.Spec.PublishNotReadyAddresses {
		t.Errorf("ring is %+v", ring.Spec)
	}
	if ready.Spec.ClusterIP == corev1.ClusterIPNone || ready.Spec.PublishNotReadyAddresses {
		t.Errorf("ready is %+v", ready.Spec)
	}
}

// settle waits until the operator has written nothing for a while.
func (s *stage) settle() {
	s.t.Helper()
	s.wire.taken()
	deadline := time.Now().Add(soon)
	for time.Now().Before(deadline) {
		time.Sleep(time.Second)
		if len(s.wire.taken()) == 0 {
			return
		}
	}
	s.t.Fatal("the operator does not come to rest")
}

func TestAQuietFleetCostsNoWrite(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.standard()
	for _, name := range []string{"sessions", "pages"} {
		s.create(s.fleet(name, 2, func(m *v1alpha1.Memcache) {
			m.Spec.Placement = v1alpha1.PlacementSpec{
				NodeSelector:      map[string]v1alpha1.LabelValue{"kubernetes.io/os": "linux"},
				Tolerations:       []v1alpha1.Toleration{{Key: "cache", Operator: v1alpha1.TolerationExists}},
				PriorityClassName: "system-node-critical",
				Spread:            v1alpha1.SpreadSpec{Zones: v1alpha1.SpreadRequired},
			}
			m.Spec.Access.Metrics = []v1alpha1.Peer{client1(s.namespace, "monitoring")}
			m.Spec.Access.Clients[0].NamespaceSelector.MatchExpressions = []v1alpha1.LabelSelectorRequirement{
				{Key: "env", Operator: v1alpha1.SelectorExists},
				{Key: "tier", Operator: v1alpha1.SelectorIn, Values: []v1alpha1.LabelValue{"b", "a"}},
			}
			m.Spec.Access.Clients[0].PodSelector = &v1alpha1.LabelSelector{}
		}))
	}
	s.ready("sessions")
	s.ready("pages")
	s.settle()
	// A pass is provoked for each fleet; it finds nothing to do.
	for _, name := range []string{"sessions", "pages"} {
		s.change(name, func(m *v1alpha1.Memcache) { m.Annotations = map[string]string{"note": "hello"} })
	}
	time.Sleep(quiet)
	if writes := s.wire.taken(); len(writes) > 0 {
		t.Errorf("a quiet fleet cost %d writes: %v", len(writes), writes)
	}
	// Another operator of the same version finds nothing to do either.
	s.stop()
	s.standard()
	time.Sleep(quiet)
	if writes := s.wire.taken(); len(writes) > 0 {
		t.Errorf("a restart of the operator cost %d writes: %v", len(writes), writes)
	}
}

func TestDriftIsTakenBack(t *testing.T) {
	t.Parallel()
	anyone := []networkingv1.NetworkPolicyIngressRule{{}}
	edits := map[string]struct {
		object client.Object
		name   string
		edit   func(client.Object)
	}{
		"a rule for everyone in the policy that admits nobody": {
			&networkingv1.NetworkPolicy{}, "sessions-deny", func(o client.Object) {
				o.(*networkingv1.NetworkPolicy).Spec.Ingress = anyone
			},
		},
		"a rule for everyone in the policy": {&networkingv1.NetworkPolicy{}, "sessions", func(o client.Object) {
			o.(*networkingv1.NetworkPolicy).Spec.Ingress = anyone
		}},
		"a way out in the policy": {&networkingv1.NetworkPolicy{}, "sessions", func(o client.Object) {
			o.(*networkingv1.NetworkPolicy).Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{}}
		}},
		"the policy pointed at other pods": {&networkingv1.NetworkPolicy{}, "sessions", func(o client.Object) {
			o.(*networkingv1.NetworkPolicy).Spec.PodSelector.MatchLabels[v1alpha1.LabelName] = "others"
		}},
		"the policy's finalizer removed": {&networkingv1.NetworkPolicy{}, "sessions", func(o client.Object) {
			o.SetFinalizers(nil)
		}},
		"the ready Service opened as a NodePort": {&corev1.Service{}, "sessions-ready", func(o client.Object) {
			o.(*corev1.Service).Spec.Type = corev1.ServiceTypeNodePort
		}},
		"an external address on the ready Service": {&corev1.Service{}, "sessions-ready", func(o client.Object) {
			o.(*corev1.Service).Spec.ExternalIPs = []string{"192.0.2.1"}
		}},
		"a second port on the ring": {&corev1.Service{}, "sessions", func(o client.Object) {
			spec := &o.(*corev1.Service).Spec
			spec.Ports = append(spec.Ports, corev1.ServicePort{
				Name: "other", Port: 80, TargetPort: intstr.FromInt32(80), Protocol: corev1.ProtocolTCP,
			})
		}},
		"our label taken from the budget": {&policyv1.PodDisruptionBudget{}, "sessions", func(o client.Object) {
			o.SetLabels(nil)
		}},
		"the budget closed": {&policyv1.PodDisruptionBudget{}, "sessions", func(o client.Object) {
			o.(*policyv1.PodDisruptionBudget).Spec.MaxUnavailable = new(intstr.FromInt32(0))
		}},
		"a token for the pods": {&corev1.ServiceAccount{}, "sessions", func(o client.Object) {
			o.(*corev1.ServiceAccount).AutomountServiceAccountToken = new(true)
		}},
		"a container beside the cache": {&appsv1.StatefulSet{}, "sessions", func(o client.Object) {
			spec := &o.(*appsv1.StatefulSet).Spec.Template.Spec
			spec.Containers = append(spec.Containers, corev1.Container{Name: "spy", Image: "spy"})
		}},
		"another image": {&appsv1.StatefulSet{}, "sessions", func(o client.Object) {
			o.(*appsv1.StatefulSet).Spec.Template.Spec.Containers[0].Image = "spy"
		}},
		"the host's network": {&appsv1.StatefulSet{}, "sessions", func(o client.Object) {
			o.(*appsv1.StatefulSet).Spec.Template.Spec.HostNetwork = true
		}},
	}
	s := newStage(t)
	s.standard()
	s.create(s.fleet("sessions", 0, func(m *v1alpha1.Memcache) { m.Spec.Access = v1alpha1.AccessSpec{} }))
	s.ready("sessions")
	for name, c := range edits {
		t.Run(name, func(t *testing.T) {
			s := &stage{t: t, namespace: s.namespace, wire: s.wire}
			s.settle()
			var was client.Object
			edited := c.object.DeepCopyObject().(client.Object)
			s.edit(edited, c.name, func() {
				was = edited.DeepCopyObject().(client.Object)
				c.edit(edited)
			})
			now := c.object.DeepCopyObject().(client.Object)
			s.wait("the edit is taken back", func() string {
				s.get(now, c.name)
				return difference(was, now)
			})
		})
	}
}

// ownersOf returns the UIDs of an object's owners, which all keep it from going before them.
func ownersOf(o client.Object) []types.UID {
	var uids []types.UID
	for _, owner := range o.GetOwnerReferences() {
		if owner.BlockOwnerDeletion != nil && *owner.BlockOwnerDeletion {
			uids = append(uids, owner.UID)
		}
	}
	slices.Sort(uids)
	return uids
}

func TestADeletedChildComesBack(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.standard()
	s.create(s.fleet("sessions", 1))
	s.ready("sessions")
	pods := s.uids()
	for kind, o := range map[string]client.Object{
		"NetworkPolicy": &networkingv1.NetworkPolicy{}, "Service": &corev1.Service{},
		"ServiceAccount": &corev1.ServiceAccount{}, "PodDisruptionBudget": &policyv1.PodDisruptionBudget{},
	} {
		s.get(o, "sessions")
		old := o.GetUID()
		if err := kube.Delete(t.Context(), o, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
			t.Fatal(err)
		}
		s.wait(kind+" comes back", func() string {
			if !s.get(o, "sessions") || o.GetUID() == old {
				return "it is gone"
			}
			return ""
		})
	}
	// The StatefulSet follows the new policy, and no pod noticed.
	policy := &networkingv1.NetworkPolicy{}
	s.get(policy, "sessions")
	s.wait("the StatefulSet is owned by the new policy", func() string {
		owners := s.statefulSet("sessions").OwnerReferences
		if !slices.ContainsFunc(owners, func(o metav1.OwnerReference) bool { return o.UID == policy.UID }) {
			return "owners differ"
		}
		return ""
	})
	s.settle()
	if now := s.uids(); now["sessions-0"] != pods["sessions-0"] {
		t.Errorf("the pod was %s and is %s", pods["sessions-0"], now["sessions-0"])
	}
}
