// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/access"
)

func TestProbersThatGoLeaveNoProofBehindForLong(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.Observe(s.fleet)
		after(dialTimeout)
		s.want(t, yes, "EnforcementProven", "1 of 1")
		labels := map[string]string{"kubernetes.io/metadata.name": "outsider"}
		// Probers that are replaced are no news.
		s.SetCast(access.Cast{Outsiders: cast().Outsiders}, true, labels, nil)
		after(20 * time.Second)
		s.SetCast(cast(), true, labels, nil)
		after(time.Minute)
		s.want(t, yes, "EnforcementProven", "1 of 1")
		s.SetCast(access.Cast{}, true, labels, nil)
		after(20 * time.Second)
		s.want(t, yes, "EnforcementProven", "1 of 1")
		after(time.Minute)
		s.want(t, unknown, "NoProber", "there is no outsider that could dial")
		s.SetCast(cast(), true, labels, nil)
		after(4 * time.Second)
		s.want(t, yes, "EnforcementProven", "1 of 1")
	})
}

func TestOutsidersThatBecomeClientsProveNothing(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.fleet.Access.Clients = []v1alpha1.Peer{{Name: "web", NamespaceSelector: v1alpha1.LabelSelector{
			MatchLabels: map[string]v1alpha1.LabelValue{"client": "true"},
		}, PodSelector: &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"app": "web"}}}}
		s.Observe(s.fleet)
		after(dialTimeout)
		s.want(t, yes, "EnforcementProven", "1 of 1")
		if n := s.Report(key).NotCovered; !slices.ContainsFunc(n, func(s string) bool {
			return strings.HasPrefix(s, "what the pod labels of spec.access.clients are worth")
		}) {
			t.Errorf("not covered is %q", n)
		}
		s.set(s.uid, func(p *pretender) { p.open = true })
		s.SetCast(cast(), true, map[string]string{"client": "true"}, map[string]string{"app": "web"})
		after(45 * time.Second)
		s.want(t, unknown, "NotProven", "admits the probers, too")
	})
}

func TestARestartedOperatorWaitsForItsProbers(t *testing.T) {
	for name, late := range map[string]bool{"they come": false, "they do not": true} {
		t.Run(name, func(t *testing.T) {
			play(t, func(t *testing.T, s *stage) {
				s.SetCast(access.Cast{}, false, nil, nil)
				s.fleet.Members[0].Since = time.Now().Add(-time.Hour)
				s.fleet.Status = &v1alpha1.MemcacheStatus{
					Members: []v1alpha1.Member{{Name: "sessions-0", Enforcement: v1alpha1.EnforcementProven}},
					Conditions: []metav1.Condition{{
						Type: v1alpha1.ConditionAccessEnforced, Status: yes, Reason: "EnforcementProven", Message: "as before",
						LastTransitionTime: metav1.NewTime(time.Now().Add(-time.Minute)),
					}},
				}
				s.Observe(s.fleet)
				s.mu2(func() { s.Runner.fleets[key].members[s.uid].due = time.Now() })
				s.poke()
				after(4 * time.Second)
				s.want(t, yes, "EnforcementProven", "as before")
				if !late {
					s.SetCast(cast(), true, map[string]string{"x": "y"}, nil)
				}
				for range 25 {
					after(time.Second)
					if !late && s.Report(key).Status != yes {
						t.Fatalf("reported is %+v", s.Report(key))
					}
				}
				if late {
					s.want(t, unknown, "NoProber", "no outsider")
				}
			})
		})
	}
}
