// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/access"
	"github.com/memkeep/memkeep/controllers/access/effective"
)

func found(n int) []effective.Finding {
	var out []effective.Finding
	for i := range n {
		out = append(out, effective.Finding{Reason: v1alpha1.ReasonWidenedByPolicy, Widening: v1alpha1.Widening{
			Kind: "NetworkPolicy", Name: fmt.Sprintf("wide-%02d", i), What: "opens",
		}})
	}
	return out
}

func TestAccessWidened(t *testing.T) {
	unseen := []string{"Services may not be listed and watched"}
	tests := map[string]struct {
		verdict effective.Verdict
		status  metav1.ConditionStatus
		reason  string
		message string
	}{
		"nothing is found": {
			effective.Verdict{}, metav1.ConditionFalse, v1alpha1.ReasonAsConfigured,
			"nothing that can be seen admits more than this Memcache does",
		},
		"what may not be read is not called good": {
			effective.Verdict{NotJudged: unseen}, metav1.ConditionUnknown, v1alpha1.ReasonNotJudged,
			"not judged: Services may not be listed and watched",
		},
		"what is found is told, whatever else is not seen": {
			effective.Verdict{WidenedBy: found(1), NotJudged: unseen}, metav1.ConditionTrue, v1alpha1.ReasonWidenedByPolicy,
			"NetworkPolicy wide-00: opens; not judged: Services may not be listed and watched",
		},
		"of many the first are told": {
			effective.Verdict{WidenedBy: found(20)}, metav1.ConditionTrue, v1alpha1.ReasonWidenedByPolicy,
			"NetworkPolicy wide-00: opens; NetworkPolicy wide-01: opens; NetworkPolicy wide-02: opens; and 17 more",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := &facts{widened: &widened{verdict: test.verdict, namespaces: new(int32(2))}}
			v := widenedOf(f)
			if v.status != test.status || v.reason != test.reason || v.message != test.message {
				t.Errorf("it is %s %s: %s", v.status, v.reason, v.message)
			}
			s := &v1alpha1.MemcacheStatus{}
			widenedBy(s, f)
			if got, want := len(s.Access.WidenedBy), min(len(test.verdict.WidenedBy), 16); got != want {
				t.Errorf("status names %d objects of %d", got, want)
			}
			if n := s.Access.AdmittedNamespaces; n == nil || *n != 2 || s.Access.AdmittedPods != nil {
				t.Errorf("counts are %+v", s.Access)
			}
		})
	}
	if widenedOf(&facts{}) != nil {
		t.Error("what is still being read is judged")
	}
}

func TestAStrangerIsOneOnlyAfterAWhile(t *testing.T) {
	r, key, now := &Reconciler{}, types.NamespacedName{Name: "sessions"}, time.Now()
	look := func(after time.Duration, strangers ...string) (map[string]bool, time.Duration) {
		f := &facts{}
		return r.passing(key, strangers, f, now.Add(after)), f.again
	}
	if passing, again := look(0, "10.1.9.9"); !passing["10.1.9.9"] || again != strangerPatience {
		t.Errorf("at first passing is %v, and it is looked again after %v", passing, again)
	}
	if passing, again := look(time.Second, "10.1.9.9", "10.1.8.8"); !passing["10.1.8.8"] || again != 2*time.Second {
		t.Errorf("then passing is %v, and it is looked again after %v", passing, again)
	}
	if passing, _ := look(strangerPatience, "10.1.9.9", "10.1.8.8"); passing["10.1.9.9"] || !passing["10.1.8.8"] {
		t.Errorf("after a while passing is %v", passing)
	}
	look(strangerPatience)
	if passing, _ := look(strangerPatience, "10.1.9.9"); !passing["10.1.9.9"] {
		t.Error("one that was gone in between is no news")
	}
}

func TestTheFleetsOwnPolicies(t *testing.T) {
	m := &v1alpha1.Memcache{ObjectMeta: metav1.ObjectMeta{Namespace: "caches", Name: "sessions"}}
	policy := func(name string) *networkingv1.NetworkPolicy {
		return &networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)},
			Spec:       networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{}}},
		}
	}
	world := &access.World{Policies: []*networkingv1.NetworkPolicy{
		policy("sessions"), policy("sessions-deny"), policy("carts"),
	}}
	r, to := &Reconciler{Namespaces: []string{"memkeep-system"}}, &effective.Fleet{}
	rendered := &facts{policy: "sessions", deny: "sessions-deny"}
	if !r.ownPolicies(m, rendered, world, to) || len(to.OwnPolicies) != 2 || len(to.Own) != 1 || len(to.Own[0].From) != 1 {
		t.Errorf("rendered, they are %+v", to)
	}
	// While the spec is invalid the one from before is in force.
	to = &effective.Fleet{}
	if !r.ownPolicies(m, &facts{}, world, to) || len(to.OwnPolicies) != 2 || len(to.Own) != 2 {
		t.Errorf("from before, they are %+v", to)
	}
	to = &effective.Fleet{}
	clash := &facts{clashes: []string{"NetworkPolicy sessions", "NetworkPolicy sessions-deny"}}
	if r.ownPolicies(m, clash, world, to) {
		t.Errorf("a foreign policy of the fleet's name is its own: %+v", to)
	}
}

func TestPodsThatAreStillToComeAreJudged(t *testing.T) {
	m := &v1alpha1.Memcache{ObjectMeta: metav1.ObjectMeta{Name: "sessions"}}
	m.Spec.Replicas = new(int32(3))
	f := healthy()
	f.statefulSet.Spec.Template.Labels = map[string]string{v1alpha1.LabelName: "sessions"}
	f.statefulSet.Spec.Template.Spec.Containers = []corev1.Container{{
		Ports: []corev1.ContainerPort{{Name: "memcache", ContainerPort: 11211}},
	}}
	pods := judgedPods(m, f)
	if len(pods) != 3 || pods[2].Name != "sessions-2" || len(pods[2].Ports) != 1 || !pods[2].Ports[0].TCP {
		t.Fatalf("pods are %+v", pods)
	}
	said := fmt.Sprint(pods[2].Labels)
	for _, label := range []string{
		"apps.kubernetes.io/pod-index:2", "statefulset.kubernetes.io/pod-name:sessions-2", "controller-revision-hash:new",
		"memkeep.io/name:sessions",
	} {
		if !strings.Contains(said, label) {
			t.Errorf("labels are %s", said)
		}
	}
}

// TestTheMembershipIsOfTheFleetsPods: whatever stands behind the Services, ring
// clients are told of the StatefulSet's pods.
func TestTheMembershipIsOfTheFleetsPods(t *testing.T) {
	m := &v1alpha1.Memcache{ObjectMeta: metav1.ObjectMeta{Name: "sessions"}}
	m.Spec.Replicas = new(int32(2))
	one, extra := podOf(0, "new", true), podOf(7, "new", true)
	one.Status.PodIP, extra.Status.PodIP = "10.1.0.1", "10.1.9.9"
	nodes := nodesOf(m, []corev1.Pod{one, extra})
	if len(nodes) != 2 || nodes[0].Address != "10.1.0.1" || nodes[1].Address != "" {
		t.Errorf("members are %+v", nodes)
	}
}
