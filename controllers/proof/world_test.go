// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/cache-server/controlapi"
	"github.com/memkeep/memkeep/controllers/access"
)

// world is a cluster's network and its pods, as far as the runner can tell. Its
// time is that of a synctest bubble.
type world struct {
	mu      sync.Mutex
	members map[types.UID]*pretender
	decoys  map[string]bool
	// dials are the times at which members were dialled, by the member.
	dials map[types.UID][]time.Time
	// active is how many requests outsiders work on, and most the most ever.
	active, most int
	changes      map[types.NamespacedName]int
}

// pretender is a member in it.
type pretender struct {
	address          string
	boot             string
	open             bool
	silent           bool
	required, serves bool
	nonces           []string
	moves            []bool
}

var errSilent = errors.New("no connection")

func (w *world) State(_ context.Context, uid types.UID) (*controlapi.State, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.members[uid]
	if p == nil || p.silent {
		return nil, errSilent
	}
	s := &controlapi.State{
		PodUID: string(uid), Boot: p.boot, GateRequired: p.required, GateOpen: p.serves || !p.required,
		Nonces: append([]string(nil), p.nonces...),
	}
	s.Listeners = []controlapi.Listener{{Address: p.address + ":11211", Accepting: true}}
	return s, nil
}

func (w *world) Dial(_ context.Context, _ types.UID, dial *controlapi.Dial) (*controlapi.Dialled, error) {
	if len(dial.Targets) > controlapi.MaxTargets {
		return nil, errors.New("too many targets")
	}
	w.mu.Lock()
	w.active++
	w.most = max(w.most, w.active)
	out := &controlapi.Dialled{}
	for _, t := range dial.Targets {
		out.Results = append(out.Results, w.dial(&t))
	}
	w.mu.Unlock()
	time.Sleep(dialTimeout)
	w.mu.Lock()
	w.active--
	w.mu.Unlock()
	return out, nil
}

func (w *world) dial(t *controlapi.Target) controlapi.Result {
	host := netip.MustParseAddrPort(t.Address).Addr().String()
	if w.decoys[host] {
		return controlapi.Result{Outcome: controlapi.Connected, Reply: controlapi.DecoyReply}
	}
	for uid, p := range w.members {
		if p.address != host {
			continue
		}
		if strings.HasSuffix(t.Address, ":11211") && t.Network == "tcp" {
			w.dials[uid] = append(w.dials[uid], time.Now())
		}
		if p.open && t.Network == "tcp" {
			if t.Nonce != "" {
				p.nonces = append(p.nonces, t.Nonce)
			}
			return controlapi.Result{Outcome: controlapi.Connected}
		}
	}
	return controlapi.Result{Outcome: controlapi.TimedOut}
}

func (w *world) Egress(context.Context, types.UID, *controlapi.Egress) (*controlapi.Result, error) {
	return &controlapi.Result{Outcome: controlapi.TimedOut}, nil
}

func (w *world) Gate(_ context.Context, uid types.UID, boot string, open bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.members[uid]
	if p.silent || p.boot != boot {
		return errSilent
	}
	p.serves = open
	p.moves = append(p.moves, open)
	return nil
}

// set changes a member.
func (w *world) set(uid types.UID, change func(*pretender)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(w.members[uid])
}

// dialled returns how often a member was dialled in the last so long.
func (w *world) dialled(uid types.UID, last time.Duration) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, at := range w.dials[uid] {
		if time.Since(at) <= last {
			n++
		}
	}
	return n
}

// stage is a world, a runner, and a fleet of one member.
type stage struct {
	*world
	*Runner
	fleet Fleet
	uid   types.UID
}

var key = types.NamespacedName{Namespace: "caches", Name: "sessions"}

// cast is an outsider and a decoy on one node.
func cast() access.Cast {
	one := func(name, address string) []access.Player {
		return []access.Player{{
			Name: name, UID: types.UID(name), Node: "n1", Addresses: []netip.Addr{netip.MustParseAddr(address)},
		}}
	}
	return access.Cast{Outsiders: one("o", "10.0.0.2"), Decoys: one("d", "10.0.0.3")}
}

// play runs a test on a stage. Time is the bubble's: minutes pass at once.
func play(t *testing.T, test func(*testing.T, *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			members: map[types.UID]*pretender{}, decoys: map[string]bool{"10.0.0.3": true},
			dials: map[types.UID][]time.Time{}, changes: map[types.NamespacedName]int{},
		}
		r := New(w, logr.Discard(), func(k types.NamespacedName) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.changes[k]++
		})
		r.SetCast(cast(), true, map[string]string{"kubernetes.io/metadata.name": "outsider"}, nil)
		s := &stage{world: w, Runner: r, uid: "u0", fleet: Fleet{Key: key, UID: "fleet", Surroundings: "1"}}
		s.fleet.Members = []Member{s.member(0)}
		ctx, stop := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() {
			if err := r.Start(ctx); err != nil {
				t.Error(err)
			}
		})
		defer wait.Wait()
		defer stop()
		test(t, s)
	})
}

// member makes a member that starts now.
func (s *stage) member(i int) Member {
	address := fmt.Sprintf("10.1.%d.%d", i/250, i%250+1)
	uid := types.UID(fmt.Sprintf("u%d", i))
	s.mu2(func() { s.members[uid] = &pretender{address: address, boot: "b1"} })
	return Member{Started: "1", Since: time.Now(), Player: access.Player{
		Name: fmt.Sprintf("sessions-%d", i), UID: uid, Node: "n1", Addresses: []netip.Addr{netip.MustParseAddr(address)},
	}}
}

func (s *stage) mu2(do func()) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	do()
}

// after lets time pass.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// want checks what is reported.
func (s *stage) want(t *testing.T, status metav1.ConditionStatus, reason, says string) {
	t.Helper()
	r := s.Report(key)
	if r.Status != status || r.Reason != reason || !strings.Contains(r.Message, says) {
		t.Errorf("reported is %s %s: %s; want %s %s: %s", r.Status, r.Reason, r.Message, status, reason, says)
	}
}

const (
	yes     = metav1.ConditionTrue
	no      = metav1.ConditionFalse
	unknown = metav1.ConditionUnknown
)

// enforced is what a stage's fleet is proven to be.
func enforced(s *stage, uid types.UID) v1alpha1.Enforcement { return s.Report(key).Members[uid] }
