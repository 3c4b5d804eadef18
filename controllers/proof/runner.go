// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"context"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/access"
)

// Runner runs the rounds of all fleets. Only the leader dials.
type Runner struct {
	phone   Phone
	logger  logr.Logger
	pace    pace
	changed func(types.NamespacedName)
	limiter *rate.Limiter
	wake    chan struct{}

	mu       sync.Mutex
	fleets   map[types.NamespacedName]*fleet
	cast     access.Cast
	outsider labelled
}

// labelled are the labels of an outsider and of its namespace.
type labelled struct {
	known          bool
	namespace, pod map[string]string
}

// fleet is what the runner keeps about one.
type fleet struct {
	Fleet
	members map[types.UID]*standing
	// carried is what was known before this operator started. It holds until each
	// member has been proven, refuted, or doubted often enough: the probers may be
	// connected to later than the first member is due.
	carried *Report
	// busy tells that a round is under way.
	busy bool
}

// New returns a runner that calls changed whenever a fleet's report may be another.
func New(phone Phone, logger logr.Logger, changed func(types.NamespacedName)) *Runner {
	return &Runner{
		phone: phone, logger: logger, pace: defaultPace(), changed: changed,
		limiter: rate.NewLimiter(perSecond, perSecond), wake: make(chan struct{}, 1),
		fleets: map[types.NamespacedName]*fleet{},
	}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (r *Runner) NeedLeaderElection() bool { return true }

// Start runs rounds until ctx ends.
func (r *Runner) Start(ctx context.Context) error {
	slots := make(chan struct{}, maxRounds)
	var wait sync.WaitGroup
	defer wait.Wait()
	for {
		job, pause := r.next()
		if job == nil {
			select {
			case <-ctx.Done():
				return nil
			case <-r.wake:
			case <-time.After(pause):
			}
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case slots <- struct{}{}:
		}
		wait.Go(func() {
			defer func() { <-slots }()
			r.run(ctx, job)
		})
	}
}

// Observe tells the runner how a fleet is now.
func (r *Runner) Observe(now Fleet) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := time.Now()
	f := r.fleets[now.Key]
	fresh := f == nil || f.UID != now.UID
	if fresh {
		f = &fleet{Fleet: now, carried: carried(&now)}
		r.fleets[now.Key] = f
	}
	anew := f.resting() || fresh
	if now.Surroundings == "" {
		now.Surroundings = f.Surroundings
	}
	changed := f.Surroundings != "" && f.Surroundings != now.Surroundings
	f.Fleet = now
	f.Status = nil
	before := f.members
	f.members = map[types.UID]*standing{}
	for _, m := range now.Members {
		s := before[m.UID]
		switch {
		case anew || s == nil || s.member.Started != m.Started:
			s = newStanding(m, at, &r.pace)
			if f.carried != nil && fresh {
				s.due = at.Add(rand.N(r.pace.spread)) //nolint:gosec // it spreads load and guards nothing
			} else {
				f.carried = nil
			}
		case changed || !samePlace(&s.member.Player, &m.Player):
			s.change(at, at.Add(r.pace.debounce), &r.pace)
		}
		s.member = m
		f.members[m.UID] = s
	}
	r.poke()
}

// samePlace tells whether a pod is where it was. A pod that has just started
// gets its addresses one by one.
func samePlace(a, b *access.Player) bool {
	return a.Node == b.Node && slices.Equal(a.Addresses, b.Addresses)
}

// carried returns what the status says, if that is about the same pods. A
// condition does not tell whom it is about, but when it became what it is: no
// pod may be younger.
func carried(f *Fleet) *Report {
	if f.Status == nil || len(f.Members) == 0 || len(f.Members) != len(f.Status.Members) {
		return nil
	}
	var c *metav1.Condition
	for i := range f.Status.Conditions {
		if f.Status.Conditions[i].Type == v1alpha1.ConditionAccessEnforced {
			c = &f.Status.Conditions[i]
		}
	}
	if c == nil || c.Status == metav1.ConditionUnknown {
		return nil
	}
	report := &Report{Members: map[types.UID]v1alpha1.Enforcement{}}
	report.Status, report.Reason, report.Message = c.Status, c.Reason, c.Message
	if f.Status.Access != nil {
		report.NotCovered = f.Status.Access.NotCovered
	}
	for i := range f.Members {
		m := &f.Members[i]
		if m.Since.IsZero() || !m.Since.Before(c.LastTransitionTime.Time) {
			return nil
		}
		for j := range f.Status.Members {
			if f.Status.Members[j].Name == m.Name {
				report.Members[m.UID] = f.Status.Members[j].Enforcement
			}
		}
		if report.Members[m.UID] == "" {
			return nil
		}
	}
	return report
}

// Forget ends the proofs of a fleet.
func (r *Runner) Forget(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.fleets, key)
}

// SetCast tells who there is to dial, with the labels of an outsider and of its
// namespace; known tells that the labels could be read.
func (r *Runner) SetCast(cast access.Cast, known bool, namespace, pod map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	outsider := labelled{known: known, namespace: namespace, pod: pod}
	if reflect.DeepEqual(cast, r.cast) && reflect.DeepEqual(outsider, r.outsider) {
		return
	}
	relabelled := !reflect.DeepEqual(outsider, r.outsider)
	r.cast, r.outsider = cast, outsider
	at := time.Now()
	for _, f := range r.fleets {
		// The same moment for a fleet's members, and another for other fleets'.
		later := at.Add(r.pace.debounce + rand.N(r.pace.spread)) //nolint:gosec // it spreads load and guards nothing
		for _, s := range f.members {
			switch {
			case !s.judged || s.verdict.Enforcement == v1alpha1.EnforcementUnknown:
				s.advance(at.Add(r.pace.debounce))
			case relabelled:
				s.advance(later)
			case access.PlanRound(s.member.Player, access.Ports{}, cast, 0).Hindrance != "":
				// Probers that are replaced are back by then; what is proven must not
				// outlive those who could refute it for long.
				s.advance(later.Add(r.pace.settle))
			}
		}
	}
	r.poke()
}

// Everything notes a change that may concern all fleets, such as of the network
// plugin. They are dialled anew one after the other.
func (r *Runner) Everything() {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := time.Now()
	for _, f := range r.fleets {
		due := at.Add(r.pace.debounce + rand.N(r.pace.spread)) //nolint:gosec // it spreads load and guards nothing
		for _, s := range f.members {
			s.change(at, due, &r.pace)
		}
	}
	r.poke()
}

// Report returns what is known about a fleet.
func (r *Runner) Report(key types.NamespacedName) Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.fleets[key]
	if f == nil {
		return Report{Finding: access.Conclude([]access.Verdict{{}})}
	}
	if f.resting() {
		return Report{Finding: restingFinding(&f.Access)}
	}
	if f.carried != nil {
		return *f.carried
	}
	out := Report{Members: map[types.UID]v1alpha1.Enforcement{}}
	var verdicts []access.Verdict
	for _, m := range f.Members {
		s := f.members[m.UID]
		verdicts = append(verdicts, s.verdict)
		if s.judged {
			out.Members[m.UID] = s.verdict.Enforcement
		}
	}
	out.Finding = access.Conclude(verdicts)
	return out
}

// resting tells that the fleet is not to be dialled.
func (f *fleet) resting() bool {
	return f.Access.EffectiveMode() == v1alpha1.AccessAudit ||
		f.Access.EffectiveVerification() == v1alpha1.VerificationDisabled
}

func restingFinding(a *v1alpha1.AccessSpec) access.Finding {
	f := access.Finding{
		Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonVerificationDisabled,
		Message: "spec.access.verification is Disabled: nobody dials",
	}
	if a.EffectiveMode() == v1alpha1.AccessAudit {
		f.Reason, f.Message = v1alpha1.ReasonAuditMode, "spec.access.mode is Audit: everyone is admitted on purpose"
	}
	return f
}

// poke has the loop look again.
func (r *Runner) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// job is a round that is due.
type job struct {
	key      types.NamespacedName
	uid      types.UID
	subjects []*subject
}

const idle = time.Minute

// next returns a round that is due now, or how long to wait.
func (r *Runner) next() (*job, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := time.Now()
	pause := idle
	for key, f := range r.fleets {
		if f.busy || f.resting() {
			continue
		}
		var due []*standing
		for _, m := range f.Members {
			switch s := f.members[m.UID]; {
			case !s.member.started():
			case !s.due.After(at):
				due = append(due, s)
			default:
				pause = min(pause, s.due.Sub(at))
			}
		}
		if len(due) > 0 {
			f.busy = true
			return r.prepare(key, f, due[:min(len(due), maxTogether)], at), 0
		}
	}
	return nil, max(pause, time.Millisecond)
}

// prepare plans a round.
func (r *Runner) prepare(key types.NamespacedName, f *fleet, due []*standing, at time.Time) *job {
	j := &job{key: key, uid: f.UID}
	clients := access.Admits(f.Access.Clients, r.outsider.namespace, r.outsider.pod)
	ports := access.Ports{SkipMetrics: access.Admits(f.Access.Metrics, r.outsider.namespace, r.outsider.pod) != ""}
	for _, s := range due {
		sub := &subject{
			standing: s, changes: s.changes,
			plan: access.PlanRound(s.member.Player, ports, r.cast, s.turn),
			dial: at.Sub(s.member.Since) >= r.pace.grown,
		}
		if labels := access.Labelled(f.Access.Clients); labels != "" {
			sub.plan.NotCovered = append(sub.plan.NotCovered, labels)
		}
		switch {
		case sub.plan.Hindrance != "":
		case !r.outsider.known:
			sub.plan.Hindrance, sub.plan.Reason = "the labels of the probers' namespace are not known", v1alpha1.ReasonNoProber
		case clients != "":
			sub.plan.Hindrance, sub.plan.Reason = "the entry "+clients+" of spec.access.clients admits the probers, too, so "+
				"that nobody is an outsider: select clients by a label of their own", v1alpha1.ReasonNotProven
		}
		j.subjects = append(j.subjects, sub)
	}
	return j
}

// run runs a round and takes its verdicts.
func (r *Runner) run(ctx context.Context, j *job) {
	verdicts, err := round(ctx, r.phone, j.subjects, r.limiter.WaitN)
	if err != nil {
		r.release(j)
		return
	}
	before := r.Report(j.key)
	gates := r.take(j, verdicts)
	if after := r.Report(j.key); !reflect.DeepEqual(before, after) {
		r.changed(j.key)
	}
	for i := range gates {
		g := &gates[i]
		if err := r.phone.Gate(ctx, g.member, g.boot, g.open); err != nil {
			r.logger.Info("The gate of a member was not moved; it is tried again with the next proof",
				"member", g.member, "open", g.open, "error", err.Error())
			r.soon(j.key, g.member)
		}
	}
}

// release ends a round that came to nothing.
func (r *Runner) release(j *job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.fleets[j.key]; f != nil && f.UID == j.uid {
		f.busy = false
	}
}

// gateMove is a gate that has to be opened or closed.
type gateMove struct {
	member types.UID
	boot   string
	open   bool
}

// take takes the verdicts of a round and returns which gates have to be moved.
func (r *Runner) take(j *job, verdicts []access.Verdict) []gateMove {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.poke()
	f := r.fleets[j.key]
	if f == nil || f.UID != j.uid {
		return nil
	}
	f.busy = false
	at := time.Now()
	var gates []gateMove
	for i, sub := range j.subjects {
		v, s := verdicts[i], sub.standing
		rounds.WithLabelValues(strings.ToLower(string(v.Enforcement))).Inc()
		if f.members[s.member.UID] != s {
			continue // another process, or none: the verdict is about what was
		}
		s.take(v, at, &r.pace)
		if s.changes != sub.changes {
			s.stale = true
			s.due = at.Add(r.pace.debounce)
		}
		r.measure(s, at)
		if sub.state == nil || !sub.state.GateRequired {
			continue
		}
		if open, known := s.gate(&v); known && open != sub.state.GateOpen {
			gates = append(gates, gateMove{member: s.member.UID, boot: sub.state.Boot, open: open})
		}
	}
	if !slices.ContainsFunc(f.Members, func(m Member) bool { return f.members[m.UID].undecided() }) {
		f.carried = nil
	}
	return gates
}

// measure notes how long the first verdict took.
func (r *Runner) measure(s *standing, at time.Time) {
	if s.timed || s.verdict.Enforcement == v1alpha1.EnforcementUnknown || s.member.Since.IsZero() {
		return
	}
	s.timed = true
	// What was there before this operator tells nothing about how long it takes.
	if took := at.Sub(s.member.Since); took < r.pace.young*5 {
		verdictSeconds.Observe(took.Seconds())
		r.logger.Info("First verdict about a member", "member", s.member.Name,
			"verdict", s.verdict.Enforcement, "seconds", took.Seconds())
	}
}

// soon has a member dialled again in a moment.
func (r *Runner) soon(key types.NamespacedName, member types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.fleets[key]; f != nil && f.members[member] != nil {
		f.members[member].due = time.Now().Add(r.pace.confirm)
	}
	r.poke()
}
