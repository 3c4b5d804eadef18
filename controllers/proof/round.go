// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/cache-server/controlapi"
	"github.com/memkeep/memkeep/controllers/access"
)

// subject is one member in a round.
type subject struct {
	standing *standing
	changes  int
	plan     access.Plan
	evidence access.Evidence
	nonces   []string
	// dial tells that the member is dialled at all.
	dial bool
	// state is what the member said last.
	state *controlapi.State
}

// order is one thing that an outsider is to do, and where its result goes.
type order struct {
	target controlapi.Target
	result *access.Result
}

// round dials members of a fleet and returns a verdict on each, in the same
// order. It asks admit before it dials so many of them.
func round(ctx context.Context, phone Phone, subjects []*subject, admit func(context.Context, int) error) (
	[]access.Verdict, error,
) {
	each(subjects, func(s *subject) { s.evidence.Before = s.ask(ctx, phone) })
	dialled := 0
	for _, s := range subjects {
		if s.dial = s.dial && s.plan.Hindrance == ""; s.dial {
			dialled++
		}
	}
	if err := admit(ctx, dialled); err != nil {
		return nil, fmt.Errorf("wait for a turn: %w", err)
	}
	var wait sync.WaitGroup
	for outsider, orders := range ordersOf(subjects) {
		for chunk := range slices.Chunk(orders, controlapi.MaxTargets) {
			wait.Go(func() { carryOut(ctx, phone, outsider, chunk) })
		}
	}
	for _, s := range subjects {
		if s.dial {
			wait.Go(func() { s.goOut(ctx, phone) })
		}
	}
	wait.Wait()
	each(subjects, func(s *subject) {
		if s.dial {
			s.evidence.After = s.ask(ctx, phone)
			s.look()
		}
	})
	out := make([]access.Verdict, len(subjects))
	for i, s := range subjects {
		out[i] = access.Judge(&s.plan, &s.evidence)
	}
	return out, ctx.Err()
}

func each(subjects []*subject, do func(*subject)) {
	var wait sync.WaitGroup
	for _, s := range subjects {
		wait.Go(func() { do(s) })
	}
	wait.Wait()
}

// ask returns the member's testimony; nil when it gives none.
func (s *subject) ask(ctx context.Context, phone Phone) *access.Testimony {
	if s.plan.Hindrance != "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	state, err := phone.State(ctx, s.plan.Member.UID)
	if err != nil || state.PodUID != string(s.plan.Member.UID) {
		return nil
	}
	s.state = state
	s.dial = true
	t := &access.Testimony{Boot: state.Boot}
	// The metrics port is not for clients, so the member does not testify to it:
	// the kubelet has, by its probe.
	for _, a := range s.plan.Member.Addresses {
		t.Listening = append(t.Listening, netip.AddrPortFrom(a, v1alpha1.PortMetrics))
	}
	for _, l := range state.Listeners {
		if a, err := netip.ParseAddrPort(l.Address); err == nil && l.Accepting {
			t.Listening = append(t.Listening, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
		}
	}
	return t
}

// ordersOf gathers what each outsider has to do.
func ordersOf(subjects []*subject) map[types.UID][]order {
	out := map[types.UID][]order{}
	for _, s := range subjects {
		if !s.dial {
			continue
		}
		s.evidence.Results = make([]access.Result, len(s.plan.Attempts))
		s.nonces = make([]string, len(s.plan.Attempts))
		for i := range s.plan.Attempts {
			a := &s.plan.Attempts[i]
			if a.Network == access.TCP && (a.To.Port() == v1alpha1.PortCache || a.To.Port() == v1alpha1.PortCacheTLS) {
				s.nonces[i] = rand.Text()
			}
			out[a.Outsider] = append(out[a.Outsider], order{result: &s.evidence.Results[i], target: controlapi.Target{
				Network: a.Network, Address: a.To.String(), Nonce: s.nonces[i],
				TimeoutMillis: int(dialTimeout.Milliseconds()),
			}})
		}
	}
	return out
}

// carryOut has an outsider dial. Where it does not, the results stay empty.
func carryOut(ctx context.Context, phone Phone, outsider types.UID, orders []order) {
	dial := &controlapi.Dial{}
	for i := range orders {
		dial.Targets = append(dial.Targets, orders[i].target)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout+callTimeout)
	defer cancel()
	dialled, err := phone.Dial(ctx, outsider, dial)
	if err != nil || len(dialled.Results) != len(orders) {
		return
	}
	for i := range orders {
		r := &dialled.Results[i]
		orders[i].result.Outcome = access.Outcome(r.Outcome)
		orders[i].result.Decoy = r.Reply == controlapi.DecoyReply
		count(r.Outcome)
	}
}

// goOut has the member try its ways out.
func (s *subject) goOut(ctx context.Context, phone Phone) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout+callTimeout)
	defer cancel()
	for _, to := range s.plan.WaysOut {
		r, err := phone.Egress(ctx, s.plan.Member.UID, &controlapi.Egress{
			Address: to.String(), TimeoutMillis: int(dialTimeout.Milliseconds()),
		})
		if err != nil {
			return
		}
		s.evidence.WaysOut = append(s.evidence.WaysOut, access.Outcome(r.Outcome))
	}
}

// look notes which nonces the member saw.
func (s *subject) look() {
	if s.state == nil {
		return
	}
	for i, nonce := range s.nonces {
		if nonce != "" && slices.Contains(s.state.Nonces, nonce) {
			s.evidence.Results[i].Seen = true
		}
	}
}
