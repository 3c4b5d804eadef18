// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/cache-server/controlapi"
	"github.com/memkeep/memkeep/controllers/access"
)

// network plays the cluster's network and the pods in it, of which a test with
// an API server alone has none.
type network struct {
	open   atomic.Bool
	rounds atomic.Int32
	// outsider is who dialled last.
	outsider atomic.Value
}

const memberAddress, decoyAddress = "10.9.0.1", "10.9.0.3"

func (n *network) State(_ context.Context, member types.UID) (*controlapi.State, error) {
	return &controlapi.State{
		PodUID: string(member), Boot: "b1",
		Listeners: []controlapi.Listener{{Address: memberAddress + ":11211", Accepting: true}},
	}, nil
}

func (n *network) Dial(_ context.Context, outsider types.UID, dial *controlapi.Dial) (*controlapi.Dialled, error) {
	n.rounds.Add(1)
	n.outsider.Store(outsider)
	out := &controlapi.Dialled{}
	for _, t := range dial.Targets {
		r := controlapi.Result{Outcome: controlapi.TimedOut}
		switch {
		case strings.HasPrefix(t.Address, decoyAddress+":"):
			r = controlapi.Result{Outcome: controlapi.Connected, Reply: controlapi.DecoyReply}
		case n.open.Load() && t.Network == "tcp":
			r = controlapi.Result{Outcome: controlapi.Connected}
		}
		out.Results = append(out.Results, r)
	}
	return out, nil
}

func (n *network) Egress(context.Context, types.UID, *controlapi.Egress) (*controlapi.Result, error) {
	return &controlapi.Result{Outcome: controlapi.TimedOut}, nil
}

func (n *network) Gate(context.Context, types.UID, string, bool) error { return nil }

// run gives a member an address and a container that runs, as a kubelet does.
func (s *stage) run(p *corev1.Pod) {
	s.t.Helper()
	s.runAt(p, memberAddress)
}

// runAt gives a pod an address and a container that runs.
func (s *stage) runAt(p *corev1.Pod, address string) {
	s.t.Helper()
	s.wait("the status of "+p.Name+" is written", func() string {
		if err := kube.Get(s.t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
			return err.Error()
		}
		p.Status.PodIP = address
		p.Status.PodIPs = []corev1.PodIP{{IP: address}}
		p.Status.Phase = corev1.PodRunning
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: "cache-server", ContainerID: "test://1", Started: new(true), Ready: true,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}},
		}}
		if err := kube.Status().Update(s.t.Context(), p); err != nil {
			return err.Error()
		}
		return ""
	})
}

func TestWhatDiallingProvesIsInStatusAndEventsAndWrittenOnce(t *testing.T) {
	t.Parallel()
	s, n := newStage(t), &network{}
	s.phone = n
	s.standard()
	player := func(name, address string) []access.Player {
		return []access.Player{{Name: name, UID: types.UID(name), Addresses: []netip.Addr{netip.MustParseAddr(address)}}}
	}
	s.create(s.fleet("sessions", 1))
	s.ready("sessions")
	s.condition("sessions", v1alpha1.ConditionAccessEnforced, metav1.ConditionUnknown, v1alpha1.ReasonNotProven)
	s.run(&s.pods()[0])
	s.condition("sessions", v1alpha1.ConditionAccessEnforced, metav1.ConditionUnknown, v1alpha1.ReasonNoProber)

	s.proof.SetCast(access.Cast{
		Outsiders: player("outsider", "10.9.0.2"), Decoys: player("decoy", decoyAddress),
	}, true, map[string]string{"kubernetes.io/metadata.name": "memkeep-system-outsider"}, nil)
	s.condition("sessions", v1alpha1.ConditionAccessEnforced, metav1.ConditionTrue, v1alpha1.ReasonEnforcementProven)
	m := s.memcache("sessions")
	if len(m.Status.Members) != 1 || m.Status.Members[0].Enforcement != v1alpha1.EnforcementProven {
		t.Errorf("members are %+v", m.Status.Members)
	}
	if m.Status.Access == nil || len(m.Status.Access.NotCovered) != 1 ||
		!strings.Contains(m.Status.Access.NotCovered[0], "another node") {
		t.Errorf("status.access is %+v", m.Status.Access)
	}

	// Another round that proves the same writes nothing.
	s.settle()
	before := n.rounds.Load()
	s.proof.Everything()
	s.wait("another round", func() string {
		if n.rounds.Load() == before {
			return "there was none"
		}
		return ""
	})
	time.Sleep(quiet)
	if writes := s.wire.taken(); len(writes) > 0 {
		t.Errorf("a round that proves the same wrote %v", writes)
	}

	// A policy that somebody adds is noticed, and what it does is told.
	n.open.Store(true)
	wide := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "wide"},
		Spec: networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{}},
		},
	}
	s.create(wide)
	c := s.condition("sessions", v1alpha1.ConditionAccessEnforced, metav1.ConditionUnknown, v1alpha1.ReasonNotProven)
	if !strings.Contains(c.Message, "waiting up to 30s from the last change") {
		t.Errorf("it waits for %q", c.Message)
	}
	c = s.condition("sessions", v1alpha1.ConditionAccessEnforced, metav1.ConditionFalse, v1alpha1.ReasonStrangerAdmitted)
	if !strings.Contains(c.Message, "sessions-0: an outsider on the same node gets to port 11211, 11213, 9150") {
		t.Errorf("told is %q", c.Message)
	}
	s.warned(v1alpha1.ReasonStrangerAdmitted)
	if m := s.memcache("sessions"); m.Status.Members[0].Enforcement != v1alpha1.EnforcementRefuted {
		t.Errorf("members are %+v", m.Status.Members)
	}
	s.ready("sessions") // BestEffort serves on

	n.open.Store(false)
	if err := kube.Delete(t.Context(), wide); err != nil {
		t.Fatal(err)
	}
	s.condition("sessions", v1alpha1.ConditionAccessEnforced, metav1.ConditionTrue, v1alpha1.ReasonEnforcementProven)
}
