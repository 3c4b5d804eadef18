// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

// hold keeps every pod of the stage in place once it terminates.
func (s *stage) hold() {
	s.t.Helper()
	s.finalize([]string{slow})
}

// release lets terminating pods go.
func (s *stage) release() {
	s.t.Helper()
	s.finalize(nil)
}

func (s *stage) finalize(finalizers []string) {
	s.t.Helper()
	for _, p := range s.pods() {
		before := p.DeepCopy()
		p.Finalizers = finalizers
		if err := kube.Patch(s.t.Context(), &p, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
			s.t.Fatal(err)
		}
	}
}

// terminating waits until every pod terminates, and fails where the policy does
// not hold them meanwhile.
func (s *stage) terminating(policy string, want int) {
	s.t.Helper()
	s.wait("all pods terminate", func() string {
		s.guarded(policy)
		n := 0
		for _, p := range s.pods() {
			if !p.DeletionTimestamp.IsZero() {
				n++
			}
		}
		if n != want {
			return fmt.Sprintf("%d terminate, want %d", n, want)
		}
		return ""
	})
}

// guarded fails where pods exist and the named policy does not. The policy is
// read first: one that goes after the last pod is right.
func (s *stage) guarded(policy string) {
	s.t.Helper()
	if !s.get(&networkingv1.NetworkPolicy{}, policy) {
		if pods := s.pods(); len(pods) > 0 {
			s.t.Fatalf("the policy %s is gone, and %d pods are there", policy, len(pods))
		}
	}
}

func TestThePolicyOutlivesTheLastPod(t *testing.T) {
	t.Parallel()
	policy := func() client.Object { return &networkingv1.NetworkPolicy{} }
	memcache := func() client.Object { return &v1alpha1.Memcache{} }
	set := func() client.Object { return &appsv1.StatefulSet{} }
	tests := map[string]struct {
		// running tells whether the operator is there.
		running bool
		// objects are deleted in this order.
		objects []func() client.Object
		policy  metav1.DeletionPropagation
		// holds is the policy that has to outlive the pods; sessions when empty.
		holds string
	}{
		"the Memcache, with the operator there": {
			true, []func() client.Object{memcache}, metav1.DeletePropagationBackground, "",
		},
		"the Memcache, with the operator gone": {
			false, []func() client.Object{memcache}, metav1.DeletePropagationBackground, "",
		},
		"the Memcache in the foreground, with the operator gone": {
			false, []func() client.Object{memcache}, metav1.DeletePropagationForeground, "",
		},
		"the Memcache in the foreground, with the operator there": {
			true, []func() client.Object{memcache}, metav1.DeletePropagationForeground, "",
		},
		"StatefulSet and Memcache, with the operator gone": {
			false, []func() client.Object{set, memcache}, metav1.DeletePropagationForeground, "",
		},
		"policy in the foreground and Memcache, with the operator there": {
			true, []func() client.Object{memcache, policy}, metav1.DeletePropagationForeground, "sessions-deny",
		},
		"policy in the background and then the Memcache, with the operator gone": {
			false, []func() client.Object{policy, memcache}, metav1.DeletePropagationBackground, "sessions-deny",
		},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.standard()
			s.create(s.fleet("sessions", 3))
			s.ready("sessions")
			s.hold()
			holds := cmp.Or(c.holds, "sessions")
			if !c.running {
				s.stop()
			}
			for _, object := range c.objects {
				o := object()
				o.SetName("sessions")
				o.SetNamespace(s.namespace)
				if err := kube.Delete(t.Context(), o, client.PropagationPolicy(c.policy)); client.IgnoreNotFound(err) != nil {
					t.Fatal(err)
				}
			}
			s.terminating(holds, 3)
			deadline := time.Now().Add(quiet)
			for time.Now().Before(deadline) {
				s.guarded(holds)
				time.Sleep(50 * time.Millisecond)
			}
			if !s.get(policy(), holds) {
				t.Fatal("the policy went before its pods")
			}
			s.release()
			s.wait("everything is gone", func() string {
				s.guarded(holds)
				if s.get(policy(), "sessions") || s.get(policy(), "sessions-deny") {
					return "a policy is there"
				}
				if s.get(set(), "sessions") || len(s.pods()) > 0 {
					return "pods are there"
				}
				return ""
			})
		})
	}
}
