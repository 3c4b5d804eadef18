// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/resources"
)

// prober starts a prober's pod, as its DaemonSet and a kubelet do.
func (s *stage) prober(namespace, part, address string) *corev1.Pod {
	s.t.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: part, Labels: map[string]string{
			v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelComponent: v1alpha1.ComponentProber,
			v1alpha1.LabelProber: part,
		}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "prober", Image: image, Ports: []corev1.ContainerPort{{ContainerPort: v1alpha1.PortControl}},
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: new(false), RunAsNonRoot: new(true),
				Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
		}}},
	}
	s.create(p)
	s.runAt(p, address)
	return p
}

func TestTheProbersOfTheirOwnNamespaceDial(t *testing.T) {
	t.Parallel()
	s, n := newStage(t), &network{}
	s.phone, s.control, s.outsiders = n, true, s.namespace+"-outsider"
	s.operate(resources.Settings{CacheImage: image})
	s.create(s.fleet("sessions", 1))
	s.ready("sessions")
	s.run(&s.pods()[0])
	c := s.condition("sessions", v1alpha1.ConditionAccessEnforced, metav1.ConditionUnknown, v1alpha1.ReasonNoProber)
	if !strings.Contains(c.Message, "there is no outsider that could dial") {
		t.Errorf("told is %q", c.Message)
	}

	// Whoever wears a prober's labels in another namespace is none.
	impostor := s.prober(s.namespace, v1alpha1.ProberOutsider, "10.9.0.7")
	s.prober(s.namespace, v1alpha1.ProberDecoy, decoyAddress)
	own := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.outsiders}}
	s.create(own)
	outsider := s.prober(s.outsiders, v1alpha1.ProberOutsider, "10.9.0.2")
	s.condition("sessions", v1alpha1.ConditionAccessEnforced, metav1.ConditionUnknown, v1alpha1.ReasonNoProber)
	if n.rounds.Load() != 0 {
		t.Fatal("somebody dials without a decoy")
	}
	s.prober(s.outsiders, v1alpha1.ProberDecoy, decoyAddress)
	s.condition("sessions", v1alpha1.ConditionAccessEnforced, metav1.ConditionTrue, v1alpha1.ReasonEnforcementProven)
	if got := n.outsider.Load(); got != outsider.UID {
		t.Errorf("%v dialled, and not the outsider %s", got, outsider.UID)
	}
	if _, known := s.links.Link(string(outsider.UID)); !known {
		t.Error("the operator keeps no connection to the outsider")
	}
	if _, known := s.links.Link(string(impostor.UID)); known {
		t.Error("the operator connects to an impostor")
	}
	s.agentIsReplaced(n)

	// Probers that the object admits are no outsiders.
	own.Labels = map[string]string{v1alpha1.ClientLabel(s.namespace, "sessions"): "true"}
	if err := kube.Update(t.Context(), own); err != nil {
		t.Fatal(err)
	}
	c = s.condition("sessions", v1alpha1.ConditionAccessEnforced, metav1.ConditionUnknown, v1alpha1.ReasonNotProven)
	if !strings.Contains(c.Message, "web of spec.access.clients admits the probers, too") {
		t.Errorf("told is %q", c.Message)
	}
	s.warned(v1alpha1.ReasonNotProven)
}

// agentIsReplaced has a pod of the network plugin come, and sees members dialled anew.
func (s *stage) agentIsReplaced(n *network) {
	s.t.Helper()
	before := n.rounds.Load()
	time.Sleep(quiet)
	if n.rounds.Load() != before {
		s.t.Fatal("members are dialled though nothing happens")
	}
	agent := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: metav1.NamespaceSystem, GenerateName: "network-agent-",
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "DaemonSet", Name: "network-agent", UID: types.UID(s.namespace), Controller: new(true),
			}},
		},
		Spec: corev1.PodSpec{
			HostNetwork: true, PriorityClassName: "system-node-critical",
			Containers: []corev1.Container{{Name: "agent", Image: image}},
		},
	}
	s.create(agent)
	s.wait("members dialled anew", func() string {
		if n.rounds.Load() == before {
			return "nobody dials"
		}
		return ""
	})
}
