// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/memkeep/memkeep/cache-server/controlapi"
	"github.com/memkeep/memkeep/controllers/access"
)

const (
	web, other, intruder = "127.0.0.2", "127.0.0.3", "127.0.0.4"
	lobby                = 2 * time.Second // as long as a cache holds who is not known
)

// observe tells of the fleet with its members.
func (s *stage) observe(change func(*Fleet), members ...types.UID) {
	f := Fleet{Key: sessions, UID: "1", Verified: true, Members: members}
	if change != nil {
		change(&f)
	}
	s.Observe(f)
}

func (s *stage) served(m *member1, from string) bool {
	s.t.Helper()
	ok, _ := asks(s.t, dial(s.t, m, from))
	return ok
}

func TestClientsAreServedAndNobodyElse(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	a, b := s.serve("a", true), s.serve("b", true)
	s.cluster.set(client("web", web), stranger("intruder", intruder))
	s.observe(nil, "a", "b")
	for _, m := range []*member1{a, b} {
		if !s.served(m, web) {
			t.Error("a client is not served")
		}
		if s.served(m, intruder) {
			t.Error("a stranger is served")
		}
	}

	// The client's pod goes, and its address comes to a stranger.
	conn := dial(t, a, web)
	if ok, _ := asks(t, conn); !ok {
		t.Fatal("a client is not served")
	}
	s.cluster.set(client("other", other), stranger("heir", web))
	began := time.Now()
	s.ClientsChanged(sessions)
	if ok, _ := asks(t, conn); ok {
		eventually(t, "the connection is closed", func() bool { ok, _ := asks(t, conn); return !ok })
	}
	t.Logf("an address lost its right after %s", time.Since(began).Round(time.Millisecond))
	if s.served(a, web) {
		t.Error("the heir of a client's address is served")
	}
	if !s.served(b, other) {
		t.Error("a new client is not served")
	}
}

// TestAClientThatConnectsAtOnceIsServedInTime has a pod whose address only the
// API server knows when it connects.
func TestAClientThatConnectsAtOnceIsServedInTime(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	m := s.serve("a", true)
	s.observe(nil, "a")
	eventually(t, "the member has a list", func() bool { return m.PeersState().Revision > 0 })
	s.cluster.mu.Lock()
	s.cluster.late = []access.Pod{client("web", web), stranger("intruder", intruder)}
	s.cluster.mu.Unlock()
	ok, after := asks(t, dial(t, m, web))
	if !ok {
		t.Fatal("it is not served")
	}
	t.Logf("served after %s", after.Round(time.Millisecond))
	if ok, after := asks(t, dial(t, m, intruder)); ok || after < lobby-100*time.Millisecond {
		t.Errorf("a stranger: served %v after %s", ok, after)
	}
	s.cluster.set(client("web", web))
	s.ClientsChanged(sessions)
	time.Sleep(200 * time.Millisecond)
	if !s.served(m, web) {
		t.Error("it is not served any more once it was observed")
	}
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	if n := s.cluster.asked[intruder]; n < 1 || n > 3 {
		t.Errorf("the API server was asked %d times for one stranger that was held %s", n, lobby)
	}
}

// TestWhatTheAPIServerToldDoesNotLast has a pod that is gone before it was ever
// observed.
func TestWhatTheAPIServerToldDoesNotLast(t *testing.T) {
	t.Parallel()
	s := newStage(t, func(p *pace) { p.live = 300 * time.Millisecond })
	m := s.serve("a", true)
	s.observe(nil, "a")
	eventually(t, "the member has a list", func() bool { return m.PeersState().Revision > 0 })
	s.cluster.mu.Lock()
	s.cluster.late = []access.Pod{client("web", web)}
	s.cluster.mu.Unlock()
	conn := dial(t, m, web)
	if ok, _ := asks(t, conn); !ok {
		t.Fatal("it is not served")
	}
	s.cluster.mu.Lock()
	s.cluster.late = nil
	s.cluster.mu.Unlock()
	eventually(t, "it is closed", func() bool { ok, _ := asks(t, conn); return !ok })
}

func TestAFloodOfStrangersAsksTheAPIServerLittle(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	m := s.serve("a", true)
	s.observe(nil, "a")
	eventually(t, "the member has a list", func() bool { return m.PeersState().Revision > 0 })
	began := time.Now()
	for i := range 150 {
		dial(t, m, fmt.Sprintf("127.0.9.%d", i+1))
	}
	time.Sleep(time.Second)
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	n := 0
	for _, times := range s.cluster.asked {
		n += times
	}
	if most := liveBurst + int(livePerSecond*time.Since(began).Seconds()) + 1; n == 0 || n > most {
		t.Errorf("it was asked %d times, at most %d are allowed", n, most)
	}
}

func TestMembersAreToldAgain(t *testing.T) {
	t.Parallel()
	s := newStage(t, func(p *pace) { p.refresh = 100 * time.Millisecond })
	s.cluster.set(client("web", web))
	m := s.serve("a", true)
	s.observe(nil, "a")
	if !s.served(m, web) {
		t.Fatal("a client is not served")
	}
	first := m.PeersState()
	eventually(t, "the list is confirmed", func() bool { return m.PeersState().Updated.After(first.Updated) })
	if now := m.PeersState(); now.Revision != first.Revision {
		t.Errorf("a list that did not change has revision %d, was %d", now.Revision, first.Revision)
	}

	// A restart leaves a member without a list.
	m.end()
	m = s.serve("a", true)
	if !s.served(m, web) {
		t.Error("a client is not served after a restart")
	}

	// What cannot be reached is told once it can.
	s.fleet.mu.Lock()
	s.fleet.down = true
	s.fleet.mu.Unlock()
	s.cluster.set(client("web", web), client("other", other))
	s.ClientsChanged(sessions)
	time.Sleep(200 * time.Millisecond)
	if !s.served(m, web) {
		t.Error("the last list is not kept while the operator is away")
	}
	s.fleet.mu.Lock()
	s.fleet.down = false
	s.fleet.mu.Unlock()
	eventually(t, "it is told", func() bool { return m.PeersState().Count == 2 })
}

// TestAnOperatorThatCountsLessIsHeard has a member that was told by one whose
// clock was ahead.
func TestAnOperatorThatCountsLessIsHeard(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	m := s.serve("a", true)
	ahead := time.Now().Add(time.Hour).UnixMicro()
	if _, err := s.fleet.SetPeers(t.Context(), "a",
		&controlapi.Peers{Verified: true, Revision: ahead, Addresses: []string{intruder}}); err != nil {
		t.Fatal(err)
	}
	s.cluster.set(client("web", web))
	s.observe(nil, "a")
	eventually(t, "it is told", func() bool { return m.PeersState().Revision >= ahead && s.served(m, web) })
	if s.served(m, intruder) {
		t.Error("who was in the old list is still served")
	}
	s.cluster.set(client("other", other))
	s.ClientsChanged(sessions)
	eventually(t, "it is told of the next change", func() bool { return s.served(m, other) })
}

func TestWhatIsNotKnownChangesNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cluster func(*cluster)
		fleet   func(*Fleet)
	}{
		"while pods are not known":  {func(c *cluster) { c.unknown = true }, nil},
		"while the spec is invalid": {func(c *cluster) { c.observed = []access.Pod{client("all", intruder)} }, func(f *Fleet) { f.Frozen = true }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, nil)
			s.cluster.set(client("web", web))
			m := s.serve("a", true)
			s.observe(nil, "a")
			if !s.served(m, web) {
				t.Fatal("a client is not served")
			}
			s.cluster.mu.Lock()
			c.cluster(s.cluster)
			s.cluster.mu.Unlock()
			s.observe(c.fleet, "a", "b")
			s.ClientsChanged(sessions)
			b := s.serve("b", true)
			if !s.served(m, web) || !s.served(b, web) {
				t.Error("a client is not served any more")
			}
			if s.served(m, intruder) {
				t.Error("somebody else is served")
			}
		})
	}
	t.Run("a member that never had a list serves nobody", func(t *testing.T) {
		t.Parallel()
		s := newStage(t, nil)
		s.cluster.unknown = true
		m := s.serve("a", true)
		s.observe(nil, "a")
		if s.served(m, web) {
			t.Error("somebody is served")
		}
	})
}

func TestAuditCountsWhoWouldBeCutOff(t *testing.T) {
	t.Parallel()
	s := newStage(t, func(p *pace) { p.audit = 100 * time.Millisecond })
	s.cluster.set(client("web", web), stranger("intruder", intruder), client("shared", other), stranger("shares", other))
	a, b := s.serve("a", false), s.serve("b", false)
	s.observe(func(f *Fleet) { f.Verified, f.Audit = false, true }, "a", "b")
	reported := func(want Report) func() bool { return func() bool { return s.Report(sessions) == want } }
	eventually(t, "nobody is counted", reported(Report{Known: true}))
	for _, from := range []string{web, web, intruder, other, "127.0.0.9"} {
		if ok, _ := asks(t, dial(t, a, from)); !ok {
			t.Errorf("%s is not served in audit", from)
		}
	}
	if ok, _ := asks(t, dial(t, b, intruder)); !ok {
		t.Error("not served in audit")
	}
	// The stranger on two members is one, and the shared address and the one that no pod has count, too.
	eventually(t, "three are counted", reported(Report{Known: true, WouldBeCutOff: 3}))
	select {
	case key := <-s.news:
		if key != sessions {
			t.Errorf("news of %s", key)
		}
	default:
		t.Error("nobody was told")
	}
	s.fleet.mu.Lock()
	s.fleet.down = true
	s.fleet.mu.Unlock()
	eventually(t, "nothing is known", reported(Report{}))
	s.fleet.mu.Lock()
	s.fleet.down = false
	s.fleet.mu.Unlock()
	eventually(t, "it is known again", reported(Report{Known: true, WouldBeCutOff: 3}))
	s.Forget(sessions)
	if got := s.Report(sessions); got != (Report{}) {
		t.Errorf("a fleet that is gone has %+v", got)
	}
}

func TestAFleetThatNeedsNothingCostsNothing(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	s.serve("a", false)
	s.observe(func(f *Fleet) { f.Verified = false }, "a")
	s.ClientsChanged(sessions)
	time.Sleep(200 * time.Millisecond)
	s.fleet.mu.Lock()
	defer s.fleet.mu.Unlock()
	if s.fleet.calls > 0 {
		t.Errorf("%d calls", s.fleet.calls)
	}
}
