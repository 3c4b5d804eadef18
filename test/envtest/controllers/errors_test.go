// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

func TestAFleetComesUpWhicheverWriteFails(t *testing.T) {
	t.Parallel()
	// A fleet's birth takes a create and an apply for each of six children,
	// and a few writes of status.
	const writes = 15
	for _, c := range []struct {
		code   int
		reason string
	}{
		{http.StatusInternalServerError, "InternalError"},
		{http.StatusConflict, "Conflict"},
		{http.StatusTooManyRequests, "TooManyRequests"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.standard()
			for n := range writes {
				name := fmt.Sprintf("fleet-%d", n)
				var seen atomic.Int32
				var hit atomic.Bool
				s.wire.intercept(func(req *http.Request, _ http.RoundTripper) *http.Response {
					if !strings.Contains(req.URL.Path, name) && req.Method != http.MethodPost {
						return nil
					}
					if seen.Add(1) != int32(n+1) {
						return nil
					}
					hit.Store(true)
					return answer(req, c.code, c.reason)
				})
				s.create(s.fleet(name, 1))
				s.ready(name)
				if !hit.Load() && n < 12 {
					t.Errorf("write %d did not happen: the test proves nothing", n)
				}
				if err := kube.Delete(t.Context(), s.memcache(name)); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestAnAnswerThatIsLostIsMadeUpFor(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	// Every second write reaches the API server, and the operator is told that
	// it failed.
	var n atomic.Int32
	s.wire.intercept(func(req *http.Request, server http.RoundTripper) *http.Response {
		if n.Add(1)%2 == 0 && n.Load() < 40 {
			if reply, err := server.RoundTrip(req); err == nil {
				_ = reply.Body.Close()
			}
			return answer(req, http.StatusGatewayTimeout, "Timeout")
		}
		return nil
	})
	s.standard()
	s.create(s.fleet("sessions", 2))
	s.ready("sessions")
}

func TestARefusalByQuotaIsToldInStatus(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.create(&corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "small", Namespace: s.namespace},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("1")}},
	})
	s.wait("the quota is counted", func() string {
		q := &corev1.ResourceQuota{}
		s.get(q, "small")
		if len(q.Status.Hard) == 0 {
			return "it is not"
		}
		return ""
	})
	s.standard()
	s.create(s.fleet("sessions", 3))
	c := s.condition("sessions", v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonForbidden)
	if !strings.Contains(c.Message, "exceeded quota: small") {
		t.Errorf("the message does not tell of the quota: %s", c.Message)
	}
	s.condition("sessions", v1alpha1.ConditionAvailable, metav1.ConditionTrue, v1alpha1.ReasonMinimumAvailable)
	s.settle()
	// What fits is Ready again.
	s.change("sessions", func(m *v1alpha1.Memcache) { m.Spec.Replicas = new(int32(1)) })
	s.ready("sessions")
}

func TestARefusalOfAChildIsToldInStatus(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.create(&corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "none", Namespace: s.namespace},
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
			"count/statefulsets.apps": resource.MustParse("0"),
		}},
	})
	s.wait("the quota is counted", func() string {
		q := &corev1.ResourceQuota{}
		s.get(q, "none")
		if len(q.Status.Hard) == 0 {
			return "it is not"
		}
		return ""
	})
	s.standard()
	s.create(s.fleet("sessions", 1))
	c := s.condition("sessions", v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonForbidden)
	if !strings.Contains(c.Message, "exceeded quota: none") {
		t.Errorf("the message does not tell of the quota: %s", c.Message)
	}
}

func TestAnInvalidSpecIsJudgedOnce(t *testing.T) {
	s := newStage(t)
	s.standard()
	// What only the operator knows: the name of its own namespace.
	s.create(s.fleet("sessions", 1, func(m *v1alpha1.Memcache) {
		m.Spec.Access.Clients = append(m.Spec.Access.Clients, v1alpha1.Peer{
			Name: "operator", NamespaceSelector: v1alpha1.LabelSelector{
				MatchLabels: map[string]v1alpha1.LabelValue{corev1.LabelMetadataName: "memkeep-system"},
			},
		})
	}))
	c := s.condition("sessions", v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonInvalidSpec)
	if !strings.Contains(c.Message, "spec.access.clients[1].namespaceSelector.matchLabels") {
		t.Errorf("the message does not name the field: %s", c.Message)
	}
	s.settle()
	before := passes(t)
	time.Sleep(quiet)
	if n := passes(t) - before; n != 0 {
		t.Errorf("an invalid object cost %v passes", n)
	}
	if writes := s.wire.taken(); len(writes) > 0 {
		t.Errorf("an invalid object cost writes: %v", writes)
	}
	if m := s.memcache("sessions"); m.Status.ObservedGeneration != m.Generation {
		t.Errorf("generation %d was judged, status says %d", m.Generation, m.Status.ObservedGeneration)
	}
	s.change("sessions", func(m *v1alpha1.Memcache) { m.Spec.Access.Clients = m.Spec.Access.Clients[:1] })
	s.ready("sessions")
}

func TestAnInvalidChangeLeavesAFleetAsItIs(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.standard()
	s.create(s.fleet("sessions", 1))
	s.ready("sessions")
	before := s.uids()
	s.change("sessions", func(m *v1alpha1.Memcache) {
		m.Spec.Replicas = new(int32(3))
		m.Spec.Access.Clients[0].NamespaceSelector.MatchLabels[corev1.LabelMetadataName] = "memkeep-system"
	})
	s.condition("sessions", v1alpha1.ConditionAccessConfigured, metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec)
	time.Sleep(quiet)
	if now := s.uids(); len(now) != 1 || now["sessions-0"] != before["sessions-0"] {
		t.Errorf("pods were %v and are %v", before, now)
	}
	if peers := s.policyPeers("sessions"); len(peers) != 1 || len(peers[0].NamespaceSelector.MatchLabels) != 1 {
		t.Errorf("the policy admits %v", peers)
	}
}
