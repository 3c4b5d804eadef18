// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

// aRound returns a plan for two nodes, and evidence that proves enforcement.
func aRound() (*Plan, *Evidence) {
	p := PlanRound(player("sessions-0", "n1", "10.0.0.9"), Ports{}, castOf("n1", "n2"), 0)
	testimony := func() *Testimony {
		return &Testimony{Boot: "b1", Listening: []netip.AddrPort{
			netip.MustParseAddrPort("10.0.0.9:11211"), netip.MustParseAddrPort("10.0.0.9:9150"),
		}}
	}
	e := &Evidence{Before: testimony(), After: testimony(), WaysOut: []Outcome{TimedOut}}
	for i := range p.Attempts {
		r := Result{Outcome: TimedOut}
		if p.Attempts[i].Control {
			r = Result{Outcome: Connected, Decoy: true}
		}
		e.Results = append(e.Results, r)
	}
	return &p, e
}

// at returns the index of an attempt.
func at(p *Plan, place Place, network, to string) int {
	return slices.IndexFunc(p.Attempts, func(a Attempt) bool {
		return a.From == place && a.Network == network && a.To == netip.MustParseAddrPort(to)
	})
}

func TestTheVerdict(t *testing.T) {
	set := func(place Place, network, to string, r Result) func(*Plan, *Evidence) {
		return func(p *Plan, e *Evidence) { e.Results[at(p, place, network, to)] = r }
	}
	const cache, metrics, control, decoy = "10.0.0.9:11211", "10.0.0.9:9150", "10.0.0.9:11213", "10.0.0.3:11211"
	const proven, refuted, unsure = v1alpha1.EnforcementProven, v1alpha1.EnforcementRefuted, v1alpha1.EnforcementUnknown
	tests := map[string]struct {
		change func(*Plan, *Evidence)
		want   v1alpha1.Enforcement
		reason string
		says   string
	}{
		"all is shut and the decoy answers": {func(*Plan, *Evidence) {}, proven, "EnforcementProven", "nobody got in"},
		"a reset where the member listens and saw nothing is a refusal": {
			set(SameNode, TCP, cache, Result{Outcome: Refused}), proven, "EnforcementProven", "nobody",
		},
		"a message that there is no way is a refusal": {
			set(AnotherNode, TCP, cache, Result{Outcome: Unreachable}), proven, "EnforcementProven", "nobody",
		},
		"UDP is refused by the member itself": {
			set(SameNode, UDP, cache, Result{Outcome: Refused}), proven, "EnforcementProven", "nobody",
		},

		"the neighbour gets in": {
			set(SameNode, TCP, cache, Result{Outcome: Connected, Seen: true}), refuted, "StrangerAdmitted",
			"an outsider on the same node gets to port 11211",
		},
		"somebody from another node gets in": {
			set(AnotherNode, TCP, cache, Result{Outcome: Connected, Seen: true}), refuted, "StrangerAdmitted",
			"an outsider on another node gets to port 11211",
		},
		"a connection of which the member saw nothing is one all the same": {
			set(SameNode, TCP, cache, Result{Outcome: Connected}), refuted, "StrangerAdmitted", "11211",
		},
		"a nonce that arrived is a connection, whatever the outsider saw": {
			set(SameNode, TCP, cache, Result{Outcome: TimedOut, Seen: true}), refuted, "StrangerAdmitted", "11211",
		},
		"the metrics port is open": {
			set(SameNode, TCP, metrics, Result{Outcome: Connected}), refuted, "StrangerAdmitted", "port 9150",
		},
		"the control port is open": {
			set(AnotherNode, TCP, control, Result{Outcome: Connected}), refuted, "StrangerAdmitted", "port 11213",
		},
		"UDP is answered": {
			set(SameNode, UDP, cache, Result{Outcome: Answered}), refuted, "StrangerAdmitted", "11211 (UDP)",
		},
		"the member gets out": {
			func(_ *Plan, e *Evidence) { e.WaysOut[0] = Connected }, refuted, "StrangerAdmitted", "gets out",
		},
		"somebody gets in and nobody testifies": {
			func(p *Plan, e *Evidence) {
				set(SameNode, TCP, cache, Result{Outcome: Connected})(p, e)
				e.Before, e.After = nil, nil
			}, refuted, "StrangerAdmitted", "11211",
		},

		"the neighbour does not reach the decoy": {
			set(SameNode, TCP, decoy, Result{Outcome: TimedOut}), unsure, "DecoyUnreachable", "the same node does not reach",
		},
		"the other node does not reach the decoy": {
			set(AnotherNode, TCP, decoy, Result{Outcome: Refused}), unsure, "DecoyUnreachable", "another node does not",
		},
		"somebody accepts in the decoy's place": {
			set(SameNode, TCP, decoy, Result{Outcome: Connected}), unsure, "DecoyUnreachable", "does not reach the decoy",
		},
		"an outsider does not answer the operator": {
			set(SameNode, TCP, decoy, Result{}), unsure, "NoProber", "does not do what the operator asks",
		},
		"an outsider could not dial": {
			set(SameNode, TCP, cache, Result{Outcome: "Failed"}), unsure, "NotProven", "could not dial port 11211",
		},
		"an outsider could not dial over UDP": {
			set(SameNode, UDP, cache, Result{Outcome: "Failed"}), unsure, "NotProven", "could not dial port 11211",
		},
		"a word that is not known": {
			set(SameNode, TCP, metrics, Result{Outcome: "Perhaps"}), unsure, "NotProven", "could not dial port 9150",
		},
		"the member does not answer before": {
			func(_ *Plan, e *Evidence) { e.Before = nil }, unsure, "MemberUnreachable", "control port",
		},
		"the member does not answer after": {
			func(_ *Plan, e *Evidence) { e.After = nil }, unsure, "MemberUnreachable", "control port",
		},
		"the member started anew": {
			func(_ *Plan, e *Evidence) { e.After.Boot = "b2" }, unsure, "NotProven", "started anew",
		},
		"the member does not listen": {
			func(_ *Plan, e *Evidence) { e.After.Listening = e.After.Listening[1:] }, unsure, "NotProven", "port 11211",
		},
		"the member does not listen for metrics": {
			func(_ *Plan, e *Evidence) { e.Before.Listening = e.Before.Listening[:1] }, unsure, "NotProven", "port 9150",
		},
		"results are missing": {
			func(_ *Plan, e *Evidence) { e.Results = e.Results[:3] }, unsure, "NoProber", "no outsider has dialled",
		},
		"nothing was planned": {
			func(p *Plan, e *Evidence) { p.Attempts, e.Results = nil, nil }, unsure, "NoProber", "no outsider has dialled",
		},
		"the cache port was left out": {
			func(p *Plan, e *Evidence) {
				p.Attempts, e.Results = p.Attempts[1:5], e.Results[1:5]
			}, unsure, "NotProven", "nobody has dialled its cache port",
		},
		"the decoy was left out": {
			func(p *Plan, e *Evidence) {
				p.Attempts, e.Results = p.Attempts[:4], e.Results[:4]
			}, unsure, "DecoyUnreachable", "no decoy to compare",
		},
		"there is no prober": {
			func(p *Plan, e *Evidence) {
				*p = PlanRound(p.Member, Ports{}, Cast{}, 0)
				e.Results, e.WaysOut = nil, nil
			}, unsure, "NoProber", "no outsider that could dial",
		},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			p, e := aRound()
			c.change(p, e)
			v := Judge(p, e)
			if v.Enforcement != c.want || v.Reason != c.reason || !strings.Contains(v.Message, c.says) {
				t.Errorf("got %+v", v)
			}
			if !strings.Contains(v.Message, "sessions-0") && c.reason != "NoProber" {
				t.Errorf("the message names no member: %s", v.Message)
			}
		})
	}
}

func TestAWayOutThatWasNotTriedIsTold(t *testing.T) {
	for name, outcomes := range map[string][]Outcome{
		"the member is too old": nil, "the member could not try": {"Failed"},
	} {
		t.Run(name, func(t *testing.T) {
			p, e := aRound()
			e.WaysOut = outcomes
			v := Judge(p, e)
			if v.Enforcement != v1alpha1.EnforcementProven || len(v.NotCovered) != 1 ||
				!strings.Contains(v.NotCovered[0], "way out") {
				t.Errorf("got %+v", v)
			}
		})
	}
}

// TestNothingIsProvenByHalf draws evidence of all kinds and reads it in another
// way than the verdict does: a proof has a decoy that answered, a member that
// was there all the time, and nothing that got through.
func TestNothingIsProvenByHalf(t *testing.T) {
	outcomes := []Outcome{Connected, Answered, TimedOut, Refused, Unreachable, "Failed", ""}
	proofs := 0
	rapid.Check(t, func(t *rapid.T) {
		p, e := aRound()
		// Few changes at a time: by chance alone nothing would ever be proven.
		for range rapid.IntRange(0, 3).Draw(t, "changes") {
			i := rapid.IntRange(0, len(e.Results)-1).Draw(t, "attempt")
			e.Results[i] = Result{
				Outcome: rapid.SampledFrom(outcomes).Draw(t, "outcome"),
				Decoy:   rapid.Bool().Draw(t, "decoy"), Seen: rapid.Bool().Draw(t, "seen"),
			}
		}
		if rapid.IntRange(0, 5).Draw(t, "silent") == 0 {
			e.Before = nil
		}
		if rapid.IntRange(0, 5).Draw(t, "deaf") == 0 {
			e.After.Listening = e.After.Listening[rapid.IntRange(0, 2).Draw(t, "closed"):]
		}
		if rapid.IntRange(0, 5).Draw(t, "out") == 0 {
			e.WaysOut[0] = rapid.SampledFrom(outcomes).Draw(t, "way")
		}
		v := Judge(p, e)
		if v.Enforcement != v1alpha1.EnforcementProven {
			return
		}
		proofs++
		answered := map[Place]bool{}
		for i, a := range p.Attempts {
			r := e.Results[i]
			if a.Control {
				answered[a.From] = r.Outcome == Connected && r.Decoy
			} else if r.Seen || r.Outcome == Connected || r.Outcome == Answered || r.Outcome == "" || r.Outcome == "Failed" {
				t.Errorf("proven though %+v came to %+v", a, r)
			}
		}
		if !answered[SameNode] || !answered[AnotherNode] {
			t.Errorf("proven though decoys answered only %v", answered)
		}
		if e.Before == nil || e.After == nil || len(e.After.Listening) < 2 {
			t.Errorf("proven though the member testified %+v and %+v", e.Before, e.After)
		}
		if e.WaysOut[0] == Connected {
			t.Error("proven though the member gets out")
		}
	})
	if proofs == 0 {
		t.Error("nothing was ever proven: the property says nothing")
	}
}

func TestTheFindingAboutAFleet(t *testing.T) {
	verdict := func(e v1alpha1.Enforcement, reason, message string) Verdict {
		return Verdict{Enforcement: e, Reason: reason, Message: message}
	}
	good := verdict(v1alpha1.EnforcementProven, v1alpha1.ReasonEnforcementProven, "a: nobody got in")
	bad := verdict(v1alpha1.EnforcementRefuted, v1alpha1.ReasonStrangerAdmitted, "b: somebody got in")
	lost := verdict(v1alpha1.EnforcementUnknown, v1alpha1.ReasonMemberUnreachable, "c: no answer")
	lone := verdict(v1alpha1.EnforcementUnknown, v1alpha1.ReasonNoProber, "there is none")
	tests := map[string]struct {
		verdicts []Verdict
		status   metav1.ConditionStatus
		reason   string
		says     string
	}{
		"no member":                     {nil, metav1.ConditionUnknown, "NoMembers", "no member"},
		"all proven":                    {[]Verdict{good, good}, metav1.ConditionTrue, "EnforcementProven", "2 of 2"},
		"one refuted among proven":      {[]Verdict{good, bad}, metav1.ConditionFalse, "StrangerAdmitted", "b: somebody got in"},
		"one refuted among doubts":      {[]Verdict{lone, lost, bad}, metav1.ConditionFalse, "StrangerAdmitted", "b: somebody"},
		"one in doubt among proven":     {[]Verdict{good, lost}, metav1.ConditionUnknown, "MemberUnreachable", "c: no answer; proven: 1 of 2"},
		"without probers all is doubt":  {[]Verdict{lost, lone, lone}, metav1.ConditionUnknown, "NoProber", "there is none; proven: 0 of 3"},
		"a verdict that nobody reached": {[]Verdict{good, {}}, metav1.ConditionUnknown, "NotProven", "has not been proven"},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			f := Conclude(c.verdicts)
			if f.Status != c.status || f.Reason != c.reason || !strings.Contains(f.Message, c.says) {
				t.Errorf("got %+v", f)
			}
		})
	}
	many := Conclude([]Verdict{
		{Enforcement: v1alpha1.EnforcementRefuted, Reason: v1alpha1.ReasonStrangerAdmitted, Message: "d", NotCovered: []string{"y", "x"}},
		{Reason: v1alpha1.ReasonStrangerAdmitted, Message: "b", NotCovered: []string{"x"}},
		{Reason: v1alpha1.ReasonStrangerAdmitted, Message: "a"}, {Reason: v1alpha1.ReasonStrangerAdmitted, Message: "c"},
	})
	if many.Message != "a; b; c; and 1 more" || !slices.Equal(many.NotCovered, []string{"x", "y"}) {
		t.Errorf("got %+v", many)
	}
}
