// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/resources"
)

// passes returns how often a Memcache was reconciled in this process.
func passes(t *testing.T) float64 {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for _, f := range families {
		if f.GetName() == "controller_runtime_reconcile_total" {
			for _, m := range f.GetMetric() {
				total += m.GetCounter().GetValue()
			}
		}
	}
	return total
}

// policyPeers returns whom the policy admits to the cache port.
func (s *stage) policyPeers(name string) []networkingv1.NetworkPolicyPeer {
	s.t.Helper()
	policy := &networkingv1.NetworkPolicy{}
	s.get(policy, name)
	for _, rule := range policy.Spec.Ingress {
		if len(rule.Ports) == 1 && rule.Ports[0].Port.IntValue() == v1alpha1.PortCache {
			return rule.From
		}
	}
	return nil
}

func TestAnOperatorOfAnotherVersionTouchesNoPod(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.standard()
	s.create(s.fleet("sessions", 2))
	revision := s.ready("sessions").Status.TemplateRevision
	s.settle()
	before := s.uids()
	s.stop()

	s.operate(resources.Settings{CacheImage: nextImage, ImagePullSecrets: []string{"mirror"}})
	s.condition("sessions", v1alpha1.ConditionUpdateAvailable, metav1.ConditionTrue, v1alpha1.ReasonTemplatePinned)
	s.settle()
	if writes := s.uids(); fmt.Sprint(writes) != fmt.Sprint(before) {
		t.Errorf("pods were %v and are %v", before, writes)
	}
	m := s.ready("sessions")
	if m.Status.TemplateRevision != revision {
		t.Errorf("the revision was %s and is %s", revision, m.Status.TemplateRevision)
	}
	// Scaling keeps the pinned template.
	s.change("sessions", func(m *v1alpha1.Memcache) { m.Spec.Replicas = new(int32(3)) })
	s.ready("sessions")
	for _, p := range s.pods() {
		if p.Spec.Containers[0].Image != image {
			t.Errorf("%s runs %s", p.Name, p.Spec.Containers[0].Image)
		}
	}
	// The pin holds against a hand on the StatefulSet, too.
	set := &appsv1.StatefulSet{}
	s.edit(set, "sessions", func() { set.Spec.Template.Spec.Containers[0].Image = "spy" })
	s.wait("the pinned image is back", func() string {
		if got := s.statefulSet("sessions").Spec.Template.Spec.Containers[0].Image; got != image {
			return got
		}
		return ""
	})
	// A wanted update replaces every pod.
	s.change("sessions", func(m *v1alpha1.Memcache) {
		m.Annotations = map[string]string{v1alpha1.AnnotationUpdate: "2026-11-23"}
	})
	s.wait("all pods run the new image", func() string {
		for _, p := range s.pods() {
			if p.Spec.Containers[0].Image != nextImage {
				return p.Name + " runs " + p.Spec.Containers[0].Image
			}
		}
		return ""
	})
	s.condition("sessions", v1alpha1.ConditionUpdateAvailable, metav1.ConditionFalse, v1alpha1.ReasonTemplateCurrent)
	if m := s.ready("sessions"); m.Status.TemplateRevision == revision {
		t.Error("the revision is the old one")
	}
}

// bigger asks for a new template.
func bigger(m *v1alpha1.Memcache) { m.Spec.Memory = resource.MustParse("128Mi") }

func TestOutdatedPodsAreReplacedOneAtATime(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.standard()
	s.create(s.fleet("sessions", 4))
	s.ready("sessions")
	before := s.uids()
	s.change("sessions", bigger)
	var order []string
	s.wait("all pods are replaced", func() string {
		pods := s.pods()
		away := 4 - len(pods)
		replaced := 0
		for _, p := range pods {
			if p.UID != before[p.Name] {
				replaced++
				if !slices.Contains(order, p.Name) {
					order = append(order, p.Name)
				}
			}
			if status(&p) != corev1.ConditionTrue || !p.DeletionTimestamp.IsZero() {
				away++
			}
		}
		if away > 1 {
			t.Fatalf("%d pods are away at once", away)
		}
		if replaced < 4 {
			return fmt.Sprintf("%d are replaced", replaced)
		}
		return ""
	})
	if want := []string{"sessions-3", "sessions-2", "sessions-1", "sessions-0"}; !slices.Equal(order, want) {
		t.Errorf("the order was %v", order)
	}
	s.ready("sessions")
}

func TestATemplateThatDoesNotWorkStopsAtTheFirstPod(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.standard()
	s.create(s.fleet("sessions", 3))
	s.ready("sessions")
	before := s.uids()
	old := s.statefulSet("sessions").Status.UpdateRevision
	s.kubelet.decide(func(p *corev1.Pod) corev1.ConditionStatus {
		if p.Labels[appsv1.ControllerRevisionHashLabelKey] != old {
			return corev1.ConditionFalse
		}
		return corev1.ConditionTrue
	})
	s.change("sessions", bigger)
	s.wait("the first pod is replaced", func() string {
		if s.uids()["sessions-2"] == before["sessions-2"] {
			return "it is not"
		}
		return ""
	})
	time.Sleep(quiet)
	now := s.uids()
	if now["sessions-0"] != before["sessions-0"] || now["sessions-1"] != before["sessions-1"] {
		t.Fatalf("pods were %v and are %v", before, now)
	}
	m := s.memcache("sessions")
	if m.Status.ReadyReplicas != 2 || m.Status.UpdatedReplicas != 1 {
		t.Errorf("status is %+v", m.Status)
	}
	s.condition("sessions", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRollingOut)

	// The way back: the broken pod goes first, and the others are as they were.
	broken := now["sessions-2"]
	s.change("sessions", func(m *v1alpha1.Memcache) { m.Spec.Memory = resource.MustParse("64Mi") })
	s.ready("sessions")
	now = s.uids()
	if now["sessions-2"] == broken || now["sessions-0"] != before["sessions-0"] {
		t.Errorf("pods were %v and are %v", before, now)
	}
}

func TestAPausedFleetKeepsItsAccessCurrentAndNothingElse(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.standard()
	s.create(s.fleet("sessions", 1))
	observed := s.ready("sessions").Status.ObservedGeneration
	s.change("sessions", func(m *v1alpha1.Memcache) {
		m.Annotations = map[string]string{v1alpha1.AnnotationPaused: "true"}
		m.Spec.Replicas = new(int32(3))
		m.Spec.Access.Clients = nil
	})
	s.condition("sessions", v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonPaused)
	s.condition("sessions", v1alpha1.ConditionAccessConfigured, metav1.ConditionTrue, v1alpha1.ReasonNobodyAdmitted)
	policy := &networkingv1.NetworkPolicy{}
	s.get(policy, "sessions")
	// The operator's own rule, for the control port, is left.
	if len(policy.Spec.Ingress) != 1 || policy.Spec.Ingress[0].Ports[0].Port.IntValue() != v1alpha1.PortControl {
		t.Errorf("the policy has rules %v", policy.Spec.Ingress)
	}
	time.Sleep(quiet)
	if n := *s.statefulSet("sessions").Spec.Replicas; n != 1 {
		t.Errorf("the StatefulSet wants %d pods", n)
	}
	if m := s.memcache("sessions"); m.Status.ObservedGeneration != observed {
		t.Errorf("status observed %d, and the spec was not acted on", m.Status.ObservedGeneration)
	}
	s.change("sessions", func(m *v1alpha1.Memcache) { m.Annotations = nil })
	s.ready("sessions")
	if pods := s.pods(); len(pods) != 3 {
		t.Errorf("%d pods", len(pods))
	}
}

func TestScalingToZeroAndBack(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.standard()
	s.create(s.fleet("sessions", 2))
	s.ready("sessions")
	for _, n := range []int32{0, 3, 1} {
		s.change("sessions", func(m *v1alpha1.Memcache) { m.Spec.Replicas = new(n) })
		m := s.ready("sessions")
		if m.Status.Replicas != n || int32(len(s.pods())) != n {
			t.Errorf("%d pods in status, %d there, want %d", m.Status.Replicas, len(s.pods()), n)
		}
	}
}

func TestAPodThatIsDeletedComesBackAndTheTimesOfConditionsStand(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.standard()
	s.create(s.fleet("sessions", 2))
	m := s.ready("sessions")
	since := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionAccessConfigured).LastTransitionTime
	time.Sleep(time.Second)
	pod := s.pods()[0]
	if err := kube.Delete(t.Context(), &pod); err != nil {
		t.Fatal(err)
	}
	s.wait("the pod is back and the fleet Ready", func() string {
		if uid := s.uids()["sessions-0"]; uid == pod.UID || uid == types.UID("") {
			return "it is not"
		}
		return ""
	})
	m = s.ready("sessions")
	now := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionAccessConfigured).LastTransitionTime
	if !now.Equal(&since) {
		t.Errorf("AccessConfigured is since %v, was since %v", now, since)
	}
}
