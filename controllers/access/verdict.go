// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

// Outcome is what became of an attempt, in the words of the control port.
type Outcome string

// The outcomes. Only Connected and Answered say that something got through, and
// only TimedOut, Refused and Unreachable that nothing did.
const (
	Connected   Outcome = "Connected"
	Answered    Outcome = "Answered"
	TimedOut    Outcome = "TimedOut"
	Refused     Outcome = "Refused"
	Unreachable Outcome = "Unreachable"
)

// stopped tells whether nothing got through.
func (o Outcome) stopped() bool {
	return o == TimedOut || o == Refused || o == Unreachable
}

// Result is what became of one attempt.
type Result struct {
	// Outcome is what the outsider saw. An empty one means that nobody knows.
	Outcome Outcome
	// Decoy tells that the decoy's own words came back.
	Decoy bool
	// Seen tells that the member saw the attempt's nonce.
	Seen bool
}

// Testimony is what a member says about itself over the control port.
type Testimony struct {
	// Boot is another one with every start of its process.
	Boot string
	// Listening are the addresses at which it accepts.
	Listening []netip.AddrPort
}

// Evidence is all that is known after a round.
type Evidence struct {
	// Results are those of the plan's attempts, in the same order.
	Results []Result
	// Before and After are the member's testimonies; nil where there is none.
	Before, After *Testimony
	// WaysOut are what became of the plan's ways out; empty where the member
	// could not try.
	WaysOut []Outcome
}

// Verdict is what a round says about one member.
type Verdict struct {
	// Enforcement is the verdict in a word.
	Enforcement v1alpha1.Enforcement
	// Reason is the reason of AccessEnforced that goes with it.
	Reason string
	// Message says why, beginning with the member's name.
	Message string
	// NotCovered is what was not tried, and why.
	NotCovered []string
}

// Judge says what a round proved. That somebody got in needs no further
// evidence. That nobody did is believed only where the same outsider reached
// the decoy, and where the member was there the whole time, listening at that
// very address, and saw nothing.
func Judge(p *Plan, e *Evidence) Verdict {
	v := Verdict{NotCovered: p.NotCovered}
	if leaks := leaks(p, e); len(leaks) > 0 {
		return v.are(v1alpha1.EnforcementRefuted, v1alpha1.ReasonStrangerAdmitted, p, strings.Join(leaks, ", "))
	}
	if p.Hindrance != "" {
		v.Enforcement, v.Reason, v.Message = v1alpha1.EnforcementUnknown, p.Reason, p.Hindrance
		return v
	}
	if reason, why := doubt(p, e); why != "" {
		return v.are(v1alpha1.EnforcementUnknown, reason, p, why)
	}
	switch {
	case len(p.WaysOut) == 0:
		v.NotCovered = append(slices.Clone(v.NotCovered), "the members' way out: there is no decoy of their address family")
	case len(e.WaysOut) != len(p.WaysOut) || slices.ContainsFunc(e.WaysOut, func(o Outcome) bool { return !o.stopped() }):
		v.NotCovered = append(slices.Clone(v.NotCovered), "the members' way out: a member could not try it")
	}
	return v.are(v1alpha1.EnforcementProven, v1alpha1.ReasonEnforcementProven, p, "nobody got in")
}

func (v Verdict) are(enforcement v1alpha1.Enforcement, reason string, p *Plan, why string) Verdict {
	v.Enforcement, v.Reason, v.Message = enforcement, reason, p.Member.Name+": "+why
	return v
}

// leaks names what got through.
func leaks(p *Plan, e *Evidence) []string {
	through := map[Place][]string{}
	for i := range p.Attempts {
		a := &p.Attempts[i]
		if a.Control || i >= len(e.Results) {
			continue
		}
		r := &e.Results[i]
		if r.Seen || r.Outcome == Connected || r.Outcome == Answered {
			port := strconv.Itoa(int(a.To.Port()))
			if a.Network == UDP {
				port += " (UDP)"
			}
			through[a.From] = append(through[a.From], port)
		}
	}
	var out []string
	for _, place := range []Place{SameNode, AnotherNode} {
		if ports := slices.Compact(slices.Sorted(slices.Values(through[place]))); len(ports) > 0 {
			out = append(out, fmt.Sprintf("an outsider on %s gets to port %s", place, strings.Join(ports, ", ")))
		}
	}
	if slices.Contains(e.WaysOut, Connected) {
		out = append(out, "it gets out to a pod that the policy does not name")
	}
	return out
}

// doubt says what is missing for a proof; empty for nothing.
func doubt(p *Plan, e *Evidence) (reason, why string) {
	switch {
	case e.Before == nil || e.After == nil:
		return v1alpha1.ReasonMemberUnreachable, "its control port does not answer the operator"
	case e.Before.Boot != e.After.Boot:
		return v1alpha1.ReasonNotProven, "it started anew in the meantime"
	case len(p.Attempts) == 0 || len(e.Results) != len(p.Attempts):
		return v1alpha1.ReasonNoProber, "no outsider has dialled it"
	}
	for i := range p.Attempts {
		a, r := &p.Attempts[i], &e.Results[i]
		switch {
		case !a.Control:
		case r.Outcome == "":
			return v1alpha1.ReasonNoProber, fmt.Sprintf("the outsider on %s does not do what the operator asks", a.From)
		case r.Outcome != Connected || !r.Decoy:
			return v1alpha1.ReasonDecoyUnreachable,
				fmt.Sprintf("the outsider on %s does not reach the decoy beside it either", a.From)
		}
	}
	return p.unsure(e)
}

// unsure says which refusal proves nothing; empty for none.
func (p *Plan) unsure(e *Evidence) (reason, why string) {
	tried := false
	for i := range p.Attempts {
		a, r := &p.Attempts[i], &e.Results[i]
		switch {
		case a.Control:
			continue
		case !r.Outcome.stopped():
			return v1alpha1.ReasonNotProven, fmt.Sprintf("the outsider on %s could not dial port %d", a.From, a.To.Port())
		case a.Network == UDP:
			// Nobody listens there: an answer would be a leak, silence proves nothing more.
			continue
		case !e.listens(a.To):
			return v1alpha1.ReasonNotProven, fmt.Sprintf("it does not say that it listens on port %d", a.To.Port())
		case !p.controlled(a):
			return v1alpha1.ReasonDecoyUnreachable,
				fmt.Sprintf("the outsider on %s has no decoy to compare with", a.From)
		}
		tried = tried || a.To.Port() == v1alpha1.PortCache
	}
	if !tried {
		return v1alpha1.ReasonNotProven, "nobody has dialled its cache port"
	}
	return "", ""
}

// listens tells whether the member accepted at the address before and after.
// That the control port listens is shown by the testimony itself.
func (e *Evidence) listens(at netip.AddrPort) bool {
	return at.Port() == v1alpha1.PortControl ||
		slices.Contains(e.Before.Listening, at) && slices.Contains(e.After.Listening, at)
}

// controlled tells whether the same outsider dials a decoy of the same family.
func (p *Plan) controlled(a *Attempt) bool {
	return slices.ContainsFunc(p.Attempts, func(c Attempt) bool {
		return c.Control && c.Outsider == a.Outsider && c.From == a.From && c.To.Addr().Is4() == a.To.Addr().Is4()
	})
}

// Finding is what the verdicts about its members say about a fleet.
type Finding struct {
	// Status and Reason are those of AccessEnforced, with a Message.
	Status          metav1.ConditionStatus
	Reason, Message string
	// NotCovered is what was not tried, and why.
	NotCovered []string
}

const (
	maxNamed      = 3
	maxNotCovered = 16
)

// Conclude sums up: True needs every member proven, and one refuted is enough
// for False. Of several doubts the one that hinders most is told.
func Conclude(verdicts []Verdict) Finding {
	byReason := map[string][]string{}
	f := Finding{Status: metav1.ConditionUnknown}
	for i := range verdicts {
		v := &verdicts[i]
		byReason[v.Reason] = append(byReason[v.Reason], v.Message)
		f.NotCovered = append(f.NotCovered, v.NotCovered...)
	}
	slices.Sort(f.NotCovered)
	f.NotCovered = slices.Compact(f.NotCovered)
	f.NotCovered = f.NotCovered[:min(len(f.NotCovered), maxNotCovered)]
	proven := len(byReason[v1alpha1.ReasonEnforcementProven])
	switch refuted := byReason[v1alpha1.ReasonStrangerAdmitted]; {
	case len(verdicts) == 0:
		f.Reason, f.Message = v1alpha1.ReasonNoMembers, "there is no member to dial"
		return f
	case len(refuted) > 0:
		f.Status, f.Reason, f.Message = metav1.ConditionFalse, v1alpha1.ReasonStrangerAdmitted, few(refuted)
		return f
	case proven == len(verdicts):
		f.Status, f.Reason = metav1.ConditionTrue, v1alpha1.ReasonEnforcementProven
		f.Message = fmt.Sprintf("outsiders were kept out at %d of %d members while they reached the decoy beside each",
			proven, proven)
		return f
	}
	for _, reason := range []string{
		v1alpha1.ReasonNoProber, v1alpha1.ReasonDecoyUnreachable, v1alpha1.ReasonMemberUnreachable, v1alpha1.ReasonNotProven,
	} {
		if doubts := byReason[reason]; len(doubts) > 0 {
			f.Reason = reason
			f.Message = fmt.Sprintf("%s; proven: %d of %d members", few(doubts), proven, len(verdicts))
			return f
		}
	}
	f.Reason, f.Message = v1alpha1.ReasonNotProven, "it has not been proven that the cluster enforces the policy"
	return f
}

// few joins the first of some sentences, each once, and says how many more there are.
func few(sentences []string) string {
	slices.Sort(sentences)
	sentences = slices.Compact(sentences)
	if len(sentences) <= maxNamed {
		return strings.Join(sentences, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(sentences[:maxNamed], "; "), len(sentences)-maxNamed)
}
