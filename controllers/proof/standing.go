// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"math/rand/v2"
	"time"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/access"
)

// standing is where the proof of one member stands.
type standing struct {
	member Member
	// verdict is what is told; judged tells that there is one.
	verdict access.Verdict
	judged  bool
	// due is when the member is dialled next.
	due time.Time
	// settled is when a change has had its time to take effect.
	settled time.Time
	// stale tells that something has changed since verdict.
	stale bool
	// refutations and doubts are how many rounds in a row ended so.
	refutations, doubts int
	// pauses is how often the pause has doubled.
	pauses int
	// turn counts rounds, and changes what may have changed who gets in.
	turn, changes int
	// timed tells that the time to the first verdict was measured.
	timed bool
}

// started tells that the member runs and has an address.
func (m *Member) started() bool {
	return !m.Since.IsZero() && len(m.Addresses) > 0
}

// newStanding begins with a member that nothing is known about.
func newStanding(m Member, now time.Time, p *pace) *standing {
	return &standing{
		member: m, due: now, settled: now.Add(p.settle), stale: true,
		verdict: access.Verdict{
			Enforcement: v1alpha1.EnforcementUnknown, Reason: v1alpha1.ReasonNotProven,
			Message: m.Name + ": it has not been dialled yet",
		},
	}
}

// change notes that who gets in may have changed.
func (s *standing) change(now, due time.Time, p *pace) {
	s.changes++
	s.stale, s.pauses = true, 0
	s.settled = now.Add(p.settle)
	s.advance(due)
}

// take takes the verdict of a round.
func (s *standing) take(v access.Verdict, now time.Time, p *pace) {
	s.turn++
	switch v.Enforcement {
	case v1alpha1.EnforcementProven:
		s.refutations, s.doubts, s.pauses = 0, 0, 0
		s.accept(v)
		s.due = now.Add(jittered(p.interval))
	case v1alpha1.EnforcementRefuted:
		s.refutations, s.doubts = s.refutations+1, 0
		s.refuted(v, now, p)
	default:
		s.doubts++
		if !s.judged || s.stale || s.doubts >= enoughDoubts {
			s.verdict = v
			s.judged = true
		}
		s.due = now.Add(s.pause(now, p))
	}
}

// refuted lets a refutation stand once it has been confirmed, and once a policy
// that takes effect late is no explanation any more.
func (s *standing) refuted(v access.Verdict, now time.Time, p *pace) {
	switch {
	case now.Before(s.settled):
		s.verdict = access.Verdict{
			Enforcement: v1alpha1.EnforcementUnknown, Reason: v1alpha1.ReasonNotProven, NotCovered: v.NotCovered,
			Message: v.Message + ", which may be a policy that takes effect late: waiting up to " +
				p.settle.String() + " from the last change",
		}
		s.judged = true
		s.due = now.Add(p.confirm)
		// The first round after the time is up is the one that counts.
		if s.due.After(s.settled) {
			s.due = s.settled
		}
	case s.refutations < enoughRefutations:
		s.due = now.Add(p.confirm)
	default:
		s.accept(v)
		s.due = now.Add(s.doubled(p))
	}
}

// undecided tells that the verdict may be due to an operator that has just started.
func (s *standing) undecided() bool {
	return !s.judged || s.refutations == 0 && s.doubts < enoughDoubts &&
		s.verdict.Enforcement == v1alpha1.EnforcementUnknown
}

// advance has the member dialled at due, unless that is to be sooner.
func (s *standing) advance(due time.Time) {
	if due.Before(s.due) {
		s.due = due
	}
}

// accept lets a verdict stand.
func (s *standing) accept(v access.Verdict) {
	s.verdict, s.judged, s.stale = v, true, false
}

// pause is the time until the next try after a doubt. A pod that is starting is
// looked at often: that costs next to nothing while it does not answer.
func (s *standing) pause(now time.Time, p *pace) time.Duration {
	if now.Sub(s.member.Since) < p.young {
		s.pauses++
		return p.eager << min(s.pauses/8, 2)
	}
	return s.doubled(p)
}

func (s *standing) doubled(p *pace) time.Duration {
	d := p.doubt << min(s.pauses, 16)
	s.pauses++
	return jittered(min(d, p.interval))
}

// gate says what follows from the round that gave v, after it was taken: whether
// the member may serve, and whether that is known. Nothing is known but from a
// proof or a confirmed refutation: else the gate stays as it is.
func (s *standing) gate(v *access.Verdict) (open, known bool) {
	switch {
	case v.Enforcement == v1alpha1.EnforcementProven:
		return true, true
	case v.Enforcement == v1alpha1.EnforcementRefuted && s.refutations >= enoughRefutations:
		return false, true
	}
	return false, false
}

// jittered spreads d by a fifth to both sides.
func jittered(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64())) //nolint:gosec // it spreads load and guards nothing
}
