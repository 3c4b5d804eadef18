// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

// planted returns an object of each child's kind and name as a stranger would
// make it. None carries our label, so the operator's cache does not hold it.
func planted(namespace string) map[string]client.Object {
	meta := metav1.ObjectMeta{Name: "sessions", Namespace: namespace}
	ready := meta
	ready.Name = "sessions-ready"
	deny := meta
	deny.Name = "sessions-deny"
	labels := map[string]string{"app": "stranger"}
	ports := []corev1.ServicePort{{Port: 80}}
	return map[string]client.Object{
		"NetworkPolicy sessions":       &networkingv1.NetworkPolicy{ObjectMeta: meta},
		"NetworkPolicy sessions-deny":  &networkingv1.NetworkPolicy{ObjectMeta: deny},
		"ServiceAccount sessions":      &corev1.ServiceAccount{ObjectMeta: meta},
		"Service sessions":             &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Ports: ports}},
		"Service sessions-ready":       &corev1.Service{ObjectMeta: ready, Spec: corev1.ServiceSpec{Ports: ports}},
		"PodDisruptionBudget sessions": &policyv1.PodDisruptionBudget{ObjectMeta: meta},
		"StatefulSet sessions": &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{
			Replicas: new(int32(0)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
			},
		}},
	}
}

func TestAPlantedObjectIsReportedAndLeftAlone(t *testing.T) {
	t.Parallel()
	for name := range planted("") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			stranger := planted(s.namespace)[name]
			s.create(stranger)
			s.standard()
			s.create(s.fleet("sessions", 1))
			c := s.condition("sessions", v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonNameConflict)
			if !strings.Contains(c.Message, name) {
				t.Errorf("the message does not name %s: %s", name, c.Message)
			}
			s.settle()
			now := planted(s.namespace)[name]
			s.untouched(stranger, now)
			if strings.HasPrefix(name, "NetworkPolicy") {
				s.nothingButPolicy()
			}
			if strings.HasPrefix(name, "ServiceAccount") && s.get(&appsv1.StatefulSet{}, "sessions") {
				t.Error("pods were made for an account that is not ours")
			}
			s.warned(v1alpha1.ReasonNameConflict)
			if m := s.memcache("sessions"); m.Status.ObservedGeneration != m.Generation {
				t.Errorf("generation %d was judged, status says %d", m.Generation, m.Status.ObservedGeneration)
			}

			// Once the stranger is gone the fleet comes up by itself.
			if err := kube.Delete(t.Context(), now); err != nil {
				t.Fatal(err)
			}
			s.ready("sessions")
		})
	}
}

// untouched fails where a planted object is gone, or not as it was planted.
func (s *stage) untouched(stranger, now client.Object) {
	s.t.Helper()
	if !s.get(now, stranger.GetName()) {
		s.t.Fatal("the planted object is gone")
	}
	if d := difference(stranger, now); d != "" || now.GetUID() != stranger.GetUID() {
		s.t.Errorf("the planted object was touched: %s", d)
	}
}

// nothingButPolicy fails where a child exists although the policy is not ours.
func (s *stage) nothingButPolicy() {
	s.t.Helper()
	for kind, o := range map[string]client.Object{
		"StatefulSet": &appsv1.StatefulSet{}, "Service": &corev1.Service{},
		"ServiceAccount": &corev1.ServiceAccount{}, "PodDisruptionBudget": &policyv1.PodDisruptionBudget{},
	} {
		if s.get(o, "sessions") {
			s.t.Errorf("%s was made although the policy is not ours", kind)
		}
	}
	if pods := s.pods(); len(pods) > 0 {
		s.t.Errorf("%d pods were started although the policy is not ours", len(pods))
	}
	c := s.condition("sessions", v1alpha1.ConditionAccessConfigured, metav1.ConditionFalse, v1alpha1.ReasonNameConflict)
	if c.Message == "" {
		s.t.Error("AccessConfigured has no message")
	}
}

// warned waits for exactly one warning event with the reason.
func (s *stage) warned(reason string) {
	s.t.Helper()
	s.wait("a warning "+reason, func() string {
		list := &corev1.EventList{}
		if err := kube.List(s.t.Context(), list, client.InNamespace(s.namespace)); err != nil {
			return err.Error()
		}
		var seen []string
		for _, e := range list.Items {
			if e.Type == corev1.EventTypeWarning && e.Reason == reason && e.InvolvedObject.Kind == "Memcache" {
				seen = append(seen, e.Message)
			}
		}
		if len(seen) != 1 {
			return "events " + strings.Join(seen, " | ")
		}
		return ""
	})
}

func TestAnObjectPlantedBetweenLookAndCreateIsNotAdopted(t *testing.T) {
	t.Parallel()
	paths := map[string]string{
		"NetworkPolicy sessions": "/networkpolicies", "StatefulSet sessions": "/statefulsets",
		"ServiceAccount sessions": "/serviceaccounts",
	}
	for name, path := range paths {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			stranger := planted(s.namespace)[name]
			var once sync.Once
			s.wire.intercept(func(req *http.Request, _ http.RoundTripper) *http.Response {
				if strings.HasSuffix(req.URL.Path, path) && req.Method == http.MethodPost {
					once.Do(func() { s.create(stranger) })
				}
				return nil
			})
			s.standard()
			s.create(s.fleet("sessions", 1))
			s.condition("sessions", v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonNameConflict)
			s.untouched(stranger, planted(s.namespace)[name])
			if pods := s.pods(); len(pods) > 0 {
				t.Errorf("%d pods were started", len(pods))
			}
		})
	}
}

func TestAPolicyReplacedByAStrangerFreezesTheFleet(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.standard()
	s.create(s.fleet("sessions", 2))
	s.ready("sessions")
	before := s.uids()
	s.stop()

	// With the operator away the policy is deleted and another planted.
	policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "sessions", Namespace: s.namespace}}
	if err := kube.Delete(t.Context(), policy, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		t.Fatal(err)
	}
	s.create(planted(s.namespace)["NetworkPolicy sessions"])
	s.standard()
	s.condition("sessions", v1alpha1.ConditionAccessConfigured, metav1.ConditionFalse, v1alpha1.ReasonNameConflict)
	// Neither scaling up nor a new template starts a pod.
	s.change("sessions", func(m *v1alpha1.Memcache) {
		m.Spec.Replicas = new(int32(5))
		m.Annotations = map[string]string{v1alpha1.AnnotationUpdate: "now"}
	})
	s.condition("sessions", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNameConflict)
	time.Sleep(quiet)
	now := s.uids()
	if len(now) != 2 || now["sessions-0"] != before["sessions-0"] || now["sessions-1"] != before["sessions-1"] {
		t.Errorf("pods were %v and are %v", before, now)
	}
}

func TestWhatAnEarlierFleetLeavesIsWaitedFor(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.standard()
	s.create(s.fleet("sessions", 1))
	s.ready("sessions")
	s.hold()
	if err := kube.Delete(t.Context(), s.memcache("sessions")); err != nil {
		t.Fatal(err)
	}
	s.create(s.fleet("sessions", 1))
	c := s.condition("sessions", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	if !strings.Contains(c.Message, "is being deleted") {
		t.Errorf("the message is %q", c.Message)
	}
	time.Sleep(quiet)
	s.release()
	s.ready("sessions")
}
