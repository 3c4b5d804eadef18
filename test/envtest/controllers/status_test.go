// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applynetworkingv1 "k8s.io/client-go/applyconfigurations/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/resources"
)

// kstatus judges a Memcache by the rules of kstatus, in their order: what
// helm --wait and Flux go by.
func kstatus(m *v1alpha1.Memcache) string {
	is := func(kind string) bool { return meta.IsStatusConditionTrue(m.Status.Conditions, kind) }
	switch {
	case !m.DeletionTimestamp.IsZero():
		return "Terminating"
	case m.Status.ObservedGeneration != m.Generation:
		return "InProgress"
	case is(v1alpha1.ConditionReconciling):
		return "InProgress"
	case is(v1alpha1.ConditionStalled):
		return "Failed"
	case meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady) != nil &&
		!is(v1alpha1.ConditionReady):
		return "InProgress"
	}
	return "Current"
}

func TestToolsThatKnowOnlyKstatusNeverSeeGreenTooEarly(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.kubelet.decide(func(*corev1.Pod) corev1.ConditionStatus { return corev1.ConditionFalse })
	s.create(s.fleet("sessions", 2))
	if got := kstatus(s.memcache("sessions")); got != "InProgress" {
		t.Fatalf("a fresh object is %s", got)
	}
	// From here on every state that is seen must fit the pods that are there.
	judge := func() string {
		m := s.memcache("sessions")
		got := kstatus(m)
		if got == "Current" {
			for _, p := range s.pods() {
				if status(&p) != corev1.ConditionTrue {
					t.Fatalf("Current, and %s is not ready; status %+v", p.Name, m.Status)
				}
			}
		}
		return got
	}
	s.standard()
	deadline := time.Now().Add(quiet)
	for time.Now().Before(deadline) {
		if got := judge(); got != "InProgress" {
			t.Fatalf("it is %s, and no pod is ready", got)
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.kubelet.decide(nil)
	current := func() string {
		if got := judge(); got != "Current" {
			return got
		}
		return ""
	}
	s.wait("it is Current", current)

	// A change of the template: never Current before the last pod is replaced.
	before := s.uids()
	s.change("sessions", bigger)
	s.wait("it is Current again", current)
	for name, uid := range s.uids() {
		if before[name] == uid {
			t.Errorf("Current, and %s was not replaced", name)
		}
	}
}

func TestAFleetWithoutReplicasWrittenHasOne(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.standard()
	s.create(s.fleet("sessions", 0, func(m *v1alpha1.Memcache) { m.Spec.Replicas = nil }))
	s.ready("sessions")
	if pods := s.pods(); len(pods) != 1 {
		t.Errorf("%d pods", len(pods))
	}
}

func TestEventsTellOfEachChangeOnce(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.standard()
	s.create(s.fleet("sessions", 1))
	s.ready("sessions")
	s.settle()
	for range 3 {
		s.change("sessions", func(m *v1alpha1.Memcache) {
			m.Annotations = map[string]string{"note": time.Now().String()}
		})
		time.Sleep(300 * time.Millisecond)
	}
	list := &corev1.EventList{}
	s.wait("the events arrive", func() string {
		if err := kube.List(t.Context(), list, client.InNamespace(s.namespace)); err != nil {
			return err.Error()
		}
		var reasons []string
		for _, e := range list.Items {
			if e.InvolvedObject.Kind == "Memcache" {
				reasons = append(reasons, e.Reason)
			}
		}
		slices.Sort(reasons)
		if want := []string{v1alpha1.ReasonMembersReady, v1alpha1.ReasonPolicyApplied}; !slices.Equal(reasons, want) {
			return strings.Join(reasons, " ")
		}
		return ""
	})
}

func TestARuleThatAnotherManagerAppliesIsTakenBack(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.standard()
	s.create(s.fleet("sessions", 1))
	s.ready("sessions")
	s.settle()
	rule := applynetworkingv1.NetworkPolicy("sessions", s.namespace).WithSpec(
		applynetworkingv1.NetworkPolicySpec().
			WithEgress(applynetworkingv1.NetworkPolicyEgressRule()).
			WithIngress(applynetworkingv1.NetworkPolicyIngressRule()))
	if err := kube.Apply(t.Context(), rule, client.FieldOwner("argocd-controller"), client.ForceOwnership); err != nil {
		t.Fatal(err)
	}
	s.wait("the rules are taken back", func() string {
		policy := &networkingv1.NetworkPolicy{}
		s.get(policy, "sessions")
		if len(policy.Spec.Egress) > 0 || len(policy.Spec.Ingress) != 2 || len(policy.Spec.Ingress[0].From) != 1 ||
			len(policy.Spec.Ingress[1].From) != 1 {
			return "they are there"
		}
		return ""
	})
	s.settle()
}

func TestClientsComeAndGoInThePolicyWithoutTouchingPods(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.standard()
	s.create(s.fleet("sessions", 1))
	s.ready("sessions")
	before := s.uids()["sessions-0"]
	for _, names := range [][]string{{"a", "b", "c"}, {"b"}, {}, {"c", "a"}} {
		s.change("sessions", func(m *v1alpha1.Memcache) {
			m.Spec.Access.Clients = nil
			for _, name := range names {
				p := client1(s.namespace, "sessions")
				p.Name = name
				p.PodSelector = &v1alpha1.LabelSelector{
					MatchLabels: map[string]v1alpha1.LabelValue{"app": v1alpha1.LabelValue(name)},
				}
				m.Spec.Access.Clients = append(m.Spec.Access.Clients, p)
			}
		})
		s.ready("sessions")
		var got []string
		for _, peer := range s.policyPeers("sessions") {
			got = append(got, peer.PodSelector.MatchLabels["app"])
		}
		if !slices.Equal(got, names) && len(got)+len(names) > 0 {
			t.Errorf("the policy admits %v, want %v", got, names)
		}
	}
	if now := s.uids()["sessions-0"]; now != before {
		t.Error("the pod was replaced")
	}
}

func TestSettingsOfTheOperatorReachFreshFleets(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.operate(resources.Settings{
		CacheImage: nextImage, ImagePullPolicy: corev1.PullNever, ImagePullSecrets: []string{"a", "b"},
	})
	s.create(s.fleet("sessions", 1))
	s.ready("sessions")
	spec := s.pods()[0].Spec
	if spec.Containers[0].ImagePullPolicy != corev1.PullNever || len(spec.ImagePullSecrets) != 2 {
		t.Errorf("the pod has %s, %v", spec.Containers[0].ImagePullPolicy, spec.ImagePullSecrets)
	}
	if c := s.condition("sessions", v1alpha1.ConditionAccessConfigured, metav1.ConditionTrue,
		v1alpha1.ReasonPolicyApplied); c.Message == "" {
		t.Error("AccessConfigured has no message")
	}
}
