// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/access"
)

func TestAMemberThatIsShutIsProvenByOneRoundAndAgainInIntervals(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.want(t, unknown, "NotProven", "not been proven")
		s.Observe(s.fleet)
		s.want(t, unknown, "NotProven", "has not been dialled yet")
		after(dialTimeout)
		s.want(t, yes, "EnforcementProven", "1 of 1")
		if enforced(s, s.uid) != v1alpha1.EnforcementProven {
			t.Error("the member is not called proven")
		}
		told := s.changes[key]
		after(8*time.Minute - 5*time.Second)
		if n := s.dialled(s.uid, time.Hour); n != 1 {
			t.Errorf("dialled %d times in eight minutes", n)
		}
		after(2 * time.Hour)
		if n := s.dialled(s.uid, 2*time.Hour); n < 10 || n > 15 {
			t.Errorf("dialled %d times in two hours", n)
		}
		// Nothing has changed: nobody is told, and nothing is written.
		if s.changes[key] != told {
			t.Errorf("told %d times, then %d times", told, s.changes[key])
		}
	})
}

func TestAnOpenNetworkIsRefutedOnceALatePolicyIsNoExplanation(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.set(s.uid, func(p *pretender) { p.open, p.required = true, true })
		s.Observe(s.fleet)
		after(dialTimeout)
		s.want(t, unknown, "NotProven",
			"gets to port 11211, 11213, 9150, which may be a policy that takes effect late: waiting up to 30s")
		after(26 * time.Second)
		s.want(t, unknown, "NotProven", "waiting up to 30s")
		after(5 * time.Second)
		s.want(t, no, "StrangerAdmitted", "sessions-0: an outsider on the same node gets to port 11211, 11213, 9150")
		after(time.Hour)
		s.want(t, no, "StrangerAdmitted", "sessions-0")
		if len(s.members[s.uid].moves) != 0 {
			t.Errorf("the gate was moved: %v", s.members[s.uid].moves)
		}
		if n := s.dialled(s.uid, 30*time.Minute); n > 5 {
			t.Errorf("dialled %d times in half an hour though nothing changes", n)
		}
	})
}

func TestAPolicyThatTakesEffectLateIsNoFailure(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.set(s.uid, func(p *pretender) { p.open, p.required = true, true })
		s.Observe(s.fleet)
		for range 15 {
			after(time.Second)
			if s.Report(key).Status == no {
				t.Fatal("it was called a failure")
			}
		}
		s.set(s.uid, func(p *pretender) { p.open = false })
		after(7 * time.Second)
		s.want(t, yes, "EnforcementProven", "1 of 1")
		if moves := s.members[s.uid].moves; !slices.Equal(moves, []bool{true}) {
			t.Errorf("the gate moved %v", moves)
		}
	})
}

func TestTwoRefutationsInARowCloseTheGateAndOneDoesNot(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.set(s.uid, func(p *pretender) { p.required = true })
		s.Observe(s.fleet)
		after(time.Minute)
		moves := func() []bool { return s.members[s.uid].moves }
		if !slices.Equal(moves(), []bool{true}) {
			t.Fatalf("the gate moved %v", moves())
		}
		// Open for one round.
		s.set(s.uid, func(p *pretender) { p.open = true })
		n := s.dialled(s.uid, time.Hour)
		for s.dialled(s.uid, time.Hour) == n {
			after(100 * time.Millisecond)
		}
		s.set(s.uid, func(p *pretender) { p.open = false })
		after(time.Minute)
		s.want(t, yes, "EnforcementProven", "1 of 1")
		if !slices.Equal(moves(), []bool{true}) {
			t.Errorf("after one refutation the gate moved %v", moves())
		}
		// Open for good.
		s.set(s.uid, func(p *pretender) { p.open = true })
		after(13 * time.Minute)
		s.want(t, no, "StrangerAdmitted", "11211")
		if !slices.Equal(moves(), []bool{true, false}) {
			t.Errorf("after two refutations the gate moved %v", moves())
		}
		// Shut again: it opens again.
		s.set(s.uid, func(p *pretender) { p.open = false })
		after(13 * time.Minute)
		s.want(t, yes, "EnforcementProven", "1 of 1")
		if !slices.Equal(moves(), []bool{true, false, true}) {
			t.Errorf("after a new proof the gate moved %v", moves())
		}
	})
}

func TestAChangeOfTheSurroundingsIsLookedAtSoon(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.set(s.uid, func(p *pretender) { p.required = true })
		s.Observe(s.fleet)
		after(time.Minute)
		s.set(s.uid, func(p *pretender) { p.open = true })
		s.fleet.Surroundings = "2"
		s.Observe(s.fleet)
		after(4 * time.Second)
		s.want(t, unknown, "NotProven", "waiting up to 30s from the last change")
		after(6 * time.Second)
		if s.members[s.uid].serves {
			t.Error("the gate is still open after two refutations")
		}
		after(25 * time.Second)
		s.want(t, no, "StrangerAdmitted", "11211")
		s.set(s.uid, func(p *pretender) { p.open = false })
		s.fleet.Surroundings = "3"
		s.Observe(s.fleet)
		// A round that was under way is waited for.
		after(8 * time.Second)
		s.want(t, yes, "EnforcementProven", "1 of 1")
	})
}

func TestAChangeInTheMiddleOfARoundIsNotMissed(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.Observe(s.fleet)
		after(dialTimeout / 2)
		s.set(s.uid, func(p *pretender) { p.open = true })
		s.fleet.Surroundings = "2"
		s.Observe(s.fleet)
		after(40 * time.Second)
		s.want(t, no, "StrangerAdmitted", "11211")
	})
}

func TestSilenceClosesNothing(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.set(s.uid, func(p *pretender) { p.required = true })
		s.Observe(s.fleet)
		after(time.Minute)
		s.set(s.uid, func(p *pretender) { p.silent = true })
		after(time.Hour)
		s.want(t, unknown, "MemberUnreachable", "control port")
		s.set(s.uid, func(p *pretender) { p.silent = false })
		after(15 * time.Minute)
		s.want(t, yes, "EnforcementProven", "1 of 1")
		if moves := s.members[s.uid].moves; !slices.Equal(moves, []bool{true}) {
			t.Errorf("the gate moved %v", moves)
		}
	})
}

func TestAShortSilenceIsNoNews(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.Observe(s.fleet)
		after(time.Minute)
		told := s.changes[key]
		s.set(s.uid, func(p *pretender) { p.silent = true })
		for s.Runner.fleets[key].members[s.uid].doubts == 0 {
			after(time.Second)
		}
		s.set(s.uid, func(p *pretender) { p.silent = false })
		after(time.Hour)
		s.want(t, yes, "EnforcementProven", "1 of 1")
		if s.changes[key] != told {
			t.Error("it was told")
		}
	})
}

func TestARestartedContainerIsUnprovenUntilProvenAnew(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.set(s.uid, func(p *pretender) { p.required = true })
		s.Observe(s.fleet)
		after(dialTimeout / 2)
		// In the middle of the first round.
		s.set(s.uid, func(p *pretender) { p.boot, p.open = "b2", true })
		s.fleet.Members[0].Started = "2"
		s.Observe(s.fleet)
		after(dialTimeout)
		s.want(t, unknown, "NotProven", "")
		after(10 * time.Second)
		if s.members[s.uid].serves {
			t.Error("the gate was opened for a process that was never proven")
		}
		s.set(s.uid, func(p *pretender) { p.open = false })
		after(10 * time.Second)
		s.want(t, yes, "EnforcementProven", "1 of 1")
		if !s.members[s.uid].serves {
			t.Error("the gate is shut")
		}
	})
}

func TestNobodyDialsWhereNothingIsToBeProven(t *testing.T) {
	tests := map[string]struct {
		access       v1alpha1.AccessSpec
		reason, says string
	}{
		"Audit":    {v1alpha1.AccessSpec{Mode: v1alpha1.AccessAudit}, "AuditMode", "on purpose"},
		"Disabled": {v1alpha1.AccessSpec{Verification: v1alpha1.VerificationDisabled}, "VerificationDisabled", "nobody dials"},
		"clients that are the probers": {v1alpha1.AccessSpec{Clients: []v1alpha1.Peer{{
			Name: "all", NamespaceSelector: v1alpha1.LabelSelector{
				MatchLabels: map[string]v1alpha1.LabelValue{"kubernetes.io/metadata.name": "outsider"},
			},
		}}}, "NotProven", "the entry all of spec.access.clients admits the probers"},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, func(t *testing.T, s *stage) {
				s.fleet.Access = c.access
				s.Observe(s.fleet)
				after(time.Hour)
				s.want(t, unknown, c.reason, c.says)
				if n := s.dialled(s.uid, time.Hour); n != 0 {
					t.Errorf("dialled %d times", n)
				}
				// As soon as there is something to prove, it is.
				s.fleet.Access, s.fleet.Surroundings = v1alpha1.AccessSpec{}, "2"
				s.Observe(s.fleet)
				after(4 * time.Second)
				s.want(t, yes, "EnforcementProven", "1 of 1")
			})
		})
	}
}

func TestAProberThatComesLateIsUsedAtOnce(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.SetCast(access.Cast{}, true, nil, nil)
		s.Observe(s.fleet)
		after(time.Minute)
		s.want(t, unknown, "NoProber", "no outsider that could dial; proven: 0 of 1")
		s.SetCast(cast(), false, nil, nil)
		after(5 * time.Second)
		s.want(t, unknown, "NoProber", "labels of the probers' namespace")
		s.SetCast(cast(), true, nil, nil)
		after(5 * time.Second)
		s.want(t, yes, "EnforcementProven", "1 of 1")
	})
}

func TestWhatWasKnownBeforeTheOperatorStarted(t *testing.T) {
	status := func(since time.Duration) *v1alpha1.MemcacheStatus {
		return &v1alpha1.MemcacheStatus{
			Members: []v1alpha1.Member{{Name: "sessions-0", Enforcement: v1alpha1.EnforcementProven}},
			Conditions: []metav1.Condition{{
				Type: v1alpha1.ConditionAccessEnforced, Status: yes, Reason: "EnforcementProven", Message: "as before",
				LastTransitionTime: metav1.NewTime(time.Now().Add(since)),
			}},
		}
	}
	t.Run("holds until it is looked at again", func(t *testing.T) {
		play(t, func(t *testing.T, s *stage) {
			s.fleet.Status = status(time.Second)
			s.Observe(s.fleet)
			s.want(t, yes, "EnforcementProven", "as before")
			if enforced(s, s.uid) != v1alpha1.EnforcementProven {
				t.Error("the member is not called proven")
			}
			after(35 * time.Second)
			s.want(t, yes, "EnforcementProven", "1 of 1")
		})
	})
	t.Run("is nothing where a pod is younger", func(t *testing.T) {
		play(t, func(t *testing.T, s *stage) {
			s.fleet.Status = status(-time.Second)
			s.Observe(s.fleet)
			s.want(t, unknown, "NotProven", "not been dialled")
			after(dialTimeout)
			s.want(t, yes, "EnforcementProven", "1 of 1")
		})
	})
	t.Run("is nothing once a member has started anew", func(t *testing.T) {
		play(t, func(t *testing.T, s *stage) {
			s.fleet.Status = status(time.Second)
			s.Observe(s.fleet)
			s.fleet.Members[0].Started = "2"
			s.Observe(s.fleet)
			s.want(t, unknown, "NotProven", "not been dialled")
		})
	})
}

func TestAChangeThatConcernsAllIsSpread(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.Observe(s.fleet)
		after(time.Minute)
		s.Everything()
		after(time.Second / 2)
		if n := s.dialled(s.uid, 30*time.Second); n != 0 {
			t.Error("dialled at once")
		}
		after(35 * time.Second)
		if n := s.dialled(s.uid, 40*time.Second); n != 1 {
			t.Errorf("dialled %d times", n)
		}
	})
}

func TestHundredsOfFleetsAreDialledAtABoundedRate(t *testing.T) {
	const fleets, each = 300, 3
	play(t, func(t *testing.T, s *stage) {
		start := time.Now()
		for i := range fleets {
			name := fmt.Sprintf("f%d", i)
			f := Fleet{Key: types.NamespacedName{Namespace: "caches", Name: name}, UID: types.UID(name)}
			for j := range each {
				f.Members = append(f.Members, s.member(i*each+j))
			}
			s.Observe(f)
		}
		after(2 * time.Minute)
		for i := range fleets {
			k := types.NamespacedName{Namespace: "caches", Name: fmt.Sprintf("f%d", i)}
			if r := s.Report(k); r.Status != yes {
				t.Fatalf("%s is %s: %s", k.Name, r.Status, r.Message)
			}
		}
		total, perSecondMost := 0, map[int]int{}
		for _, times := range s.dials {
			for _, at := range times {
				total++
				perSecondMost[int(at.Sub(start)/time.Second)]++
			}
		}
		if s.most > maxRounds {
			t.Errorf("%d requests at a time", s.most)
		}
		for second, n := range perSecondMost {
			if n > 2*perSecond+maxTogether {
				t.Errorf("%d members were dialled in second %d", n, second)
			}
		}
		if total != fleets*each {
			t.Errorf("%d dials for %d members", total, fleets*each)
		}
		after(time.Hour)
		t.Logf("first pass: at most %d requests at a time; steady: %.1f members a second",
			s.most, float64(s.total()-total)/3600)
	})
}

func (s *stage) total() int {
	n := 0
	for _, times := range s.dials {
		n += len(times)
	}
	return n
}
