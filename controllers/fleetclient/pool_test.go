// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package fleetclient

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/memkeep/memkeep/cache-server/controlapi"
	"github.com/memkeep/memkeep/cache-server/server"
)

func TestEveryPodIsEnrolledAndHeard(t *testing.T) {
	w := newWorld(t)
	p, _ := w.pool()
	var targets []Target
	for n := range 20 {
		targets = append(targets, w.start(fmt.Sprintf("pod-%d", n), nil).Target)
	}
	p.Keep("a", targets[:10])
	p.Keep("b", targets[10:])
	for _, target := range targets {
		s := up(t, p, target.UID)
		if s.PodUID != target.UID || s.Build != "v1" || len(s.Listeners) != 1 || !s.Listeners[0].Accepting ||
			!s.GateOpen || s.GateRequired || s.CertificateNotAfter == 0 {
			t.Fatalf("%s says %+v", target.UID, s)
		}
	}
	if up, down := p.streams(); up != 20 || down != 0 {
		t.Fatal(up, down)
	}
	p.Keep("a", nil)
	if _, ok := p.Said("pod-0"); ok {
		t.Fatal("a pod that is not kept is heard")
	}
	up(t, p, "pod-10")
	if link, ok := p.Link("pod-10"); !ok || !link.Up || link.Failure != nil {
		t.Fatalf("%+v", link)
	}
}

// TestAConnectionWithNothingToSayLasts waits longer than any deadline there is
// for what a pod says.
func TestAConnectionWithNothingToSayLasts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, _ := w.pool()
	p.Keep("a", []Target{w.start("quiet", nil).Target})
	up(t, p, "quiet")
	before, _ := p.Link("quiet")
	time.Sleep(25 * time.Second)
	if after, _ := p.Link("quiet"); after != before {
		t.Errorf("it was %+v, and is %+v", before, after)
	}
}

func TestWhatIsWantedIsToldAndTakesEffect(t *testing.T) {
	w := newWorld(t)
	p, _ := w.pool()
	c := w.start("pod", nil)
	p.Keep("a", []Target{c.Target})
	up(t, p, "pod")
	ask := func(request string) string {
		conn, err := net.Dial("tcp", c.Listening()[0].Address.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = io.WriteString(conn, request+"quit\r\n")
		answer, _ := io.ReadAll(conn)
		return string(answer)
	}
	if got := ask("config get cluster\r\n"); got != "ERROR\r\n" {
		t.Fatalf("before anybody told, it answers %q", got)
	}
	p.Want("pod", controlapi.Desired{
		Membership: &controlapi.Membership{
			Version: 7, Nodes: []controlapi.Node{{Host: "s-0.s.ns.svc", Address: "10.0.0.1", Port: 11211}},
		},
		Limits: &controlapi.Limits{MemoryBytes: 24 << 20},
	})
	eventually(t, "membership and limits in force", func() bool {
		s, _ := p.Said("pod")
		return s.MembershipVersion == 7 && s.MemoryBytes == 24<<20
	})
	if got := ask("config get cluster\r\n"); !strings.Contains(got, "7\ns-0.s.ns.svc|10.0.0.1|11211\n") {
		t.Fatalf("it answers %q", got)
	}
	conn, err := net.Dial("tcp", c.Listening()[0].Address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client, _ := p.Client("pod")
	eventually(t, "the connection is seen", func() bool {
		got, err := client.Connections(t.Context())
		return err == nil && len(got.Peers) == 1 && got.Peers[0].Connections == 1 && got.Peers[0].Address == "127.0.0.1"
	})
	stats, err := client.Statistics(t.Context())
	if err != nil || stats.General["version"] != "1.6.45" || stats.General["limit_maxbytes"] != fmt.Sprint(24<<20) {
		t.Fatal(stats, err)
	}
	if _, err := client.Dial(t.Context(), controlapi.Dial{}); KindOf(err) != Unsupported {
		t.Fatalf("a cache dials like a prober: %v", err)
	}
	if _, err := client.Drain(t.Context(), 3*time.Second); err != nil || <-c.drained != 3*time.Second {
		t.Fatal(err)
	}
	if _, err := client.Drain(t.Context(), 0); KindOf(err) != Invalid {
		t.Fatal(err)
	}
}

func TestWhatIsWrongIsRefusedByField(t *testing.T) {
	w := newWorld(t)
	p, _ := w.pool()
	open := w.start("open", nil)
	locked := w.start("locked", nil, func(c *server.Config) { c.GateClosed, c.VerifiedPeers = true, true })
	p.Keep("a", []Target{open.Target, locked.Target})
	up(t, p, "open")
	up(t, p, "locked")
	node := controlapi.Node{Host: "h", Port: 1}
	members := func(version uint64, nodes ...controlapi.Node) controlapi.Desired {
		return controlapi.Desired{Membership: &controlapi.Membership{Version: version, Nodes: nodes}}
	}
	peers := func(verified bool, revision int64, addresses ...string) controlapi.Desired {
		return controlapi.Desired{Peers: &controlapi.Peers{Verified: verified, Revision: revision, Addresses: addresses}}
	}
	put := func(uid string, d controlapi.Desired) error {
		client, _ := p.Client(uid)
		var s controlapi.State
		return client.call(t.Context(), "PUT", controlapi.PathDesired, d, &s)
	}
	if err := put("open", members(5, node)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, uid, field string
		kind             Kind
		desired          controlapi.Desired
	}{
		{"a version of 0", "open", "membership: version", Invalid, members(0, node)},
		{"an older version", "open", "membership: version", Invalid, members(4, node)},
		{"another list of the same version", "open", "membership: version", Invalid, members(5)},
		{"a host with a separator", "open", "nodes[1].host", Invalid, members(6, node, controlapi.Node{Host: "a|b", Port: 1})},
		{"a host with a line end", "open", "nodes[0].host", Invalid, members(6, controlapi.Node{Host: "a\nb", Port: 1})},
		{"no host", "open", "nodes[0].host", Invalid, members(6, controlapi.Node{Port: 1})},
		{"no port", "open", "nodes[0].port", Invalid, members(6, controlapi.Node{Host: "a"})},
		{"an address that is none", "open", "nodes[0].address", Invalid, members(6, controlapi.Node{Host: "a", Port: 1, Address: "x"})},
		{"more members than there are", "open", "membership: nodes", Invalid, members(6, make([]controlapi.Node, 5000)...)},
		{"no memory", "open", "limits.memoryBytes", Invalid, controlapi.Desired{Limits: &controlapi.Limits{}}},
		{"more memory than there is", "open", "limits.memoryBytes", Invalid, controlapi.Desired{Limits: &controlapi.Limits{MemoryBytes: 1 << 40}}},
		{"a peer that is no address", "open", "peers: addresses[1]", Invalid, peers(true, 1, "10.0.0.1", "host")},
		{"a peer that is everybody", "open", "peers: addresses[0]", Invalid, peers(true, 1, "0.0.0.0")},
		{"a list without revision", "open", "peers: revision", Invalid, peers(true, 0)},
		{"a gate where there is none", "open", "gate: ", Refused, controlapi.Desired{Gate: &controlapi.Gate{}}},
		{"a list that verifies nobody", "locked", "peers: ", Refused, peers(false, 1)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := put(tt.uid, tt.desired)
			if KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.field) {
				t.Fatal(err)
			}
		})
	}
	s, err := p.Phone().State(t.Context(), "open")
	if err != nil || s.MembershipVersion != 5 || s.Peers.Verified || s.Peers.Revision != 0 || s.MemoryBytes != 16<<20 {
		t.Fatalf("something of it took effect: %+v, %v", s, err)
	}
	way := &controlapi.Egress{Address: "192.0.2.1:22", TimeoutMillis: 10}
	if r, err := p.Phone().Egress(t.Context(), "open", way); err != nil ||
		r.Outcome != controlapi.Failed || !strings.Contains(r.Error, "22 is no port") {
		t.Fatal(r, err)
	}
}

func TestAGateIsForOneStartOnly(t *testing.T) {
	w := newWorld(t)
	p, _ := w.pool()
	gated := func(c *server.Config) { c.GateClosed = true }
	c := w.start("pod", nil, gated)
	p.Keep("a", []Target{c.Target})
	first := up(t, p, "pod")
	if !first.GateRequired || first.GateOpen {
		t.Fatalf("%+v", first)
	}
	if err := p.Phone().Gate(t.Context(), "pod", "another boot", true); KindOf(err) != OtherPod || c.GateOpen() {
		t.Fatalf("it opens for another start: %v", err)
	}
	if err := p.Phone().Gate(t.Context(), "pod", first.Boot, true); err != nil || !c.GateOpen() {
		t.Fatal(err)
	}
	list := &controlapi.Peers{Verified: true, Revision: 3, Addresses: []string{"10.0.0.1"}}
	p.Want("pod", controlapi.Desired{Peers: list})
	eventually(t, "the list in force", func() bool { return c.PeersState().Revision == 3 })
	// A connection that is lost changes nothing.
	p.pod("pod").link.close()
	eventually(t, "another connection", func() bool { s, ok := p.Said("pod"); return ok && s.Boot == first.Boot })
	c.stop()
	eventually(t, "the end is noticed", func() bool { _, ok := p.Said("pod"); return !ok })
	again := w.startAt(c.Addresses[0], "pod", nil, gated)
	eventually(t, "the list is in force again", func() bool { return again.PeersState().Revision == 3 })
	if s := up(t, p, "pod"); s.Boot == first.Boot || s.GateOpen || again.GateOpen() {
		t.Fatalf("the next start is open: %+v", s)
	}
	p.WantGate("pod", first.Boot, true)
	p.Want("pod", controlapi.Desired{Limits: &controlapi.Limits{MemoryBytes: 20 << 20}})
	eventually(t, "the limit is in force", func() bool { return again.Budget() == 20<<20 })
	if again.GateOpen() {
		t.Fatal("what was proven of the start before opens the gate")
	}
}

func TestChangesAreTold(t *testing.T) {
	w := newWorld(t)
	pool, stop := w.pool()
	var mu sync.Mutex
	var heard []Change
	pool.Hear(func(c Change) { mu.Lock(); heard = append(heard, c); mu.Unlock() })
	c := w.start("pod", nil)
	pool.Keep("a", []Target{c.Target})
	s := up(t, pool, "pod")
	conn, err := net.Dial("tcp", c.Listening()[0].Address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, controlapi.NonceCommand+" abc123\r\n")
	eventually(t, "the nonce is told", func() bool {
		s, _ := pool.Said("pod")
		return len(s.Nonces) == 1 && s.Nonces[0] == "abc123"
	})
	stop()
	mu.Lock()
	defer mu.Unlock()
	if len(heard) != 3 || heard[0].Before != nil || heard[0].After.Boot != s.Boot || heard[0].Owner != "a" ||
		heard[1].Before.Nonces != nil || len(heard[1].After.Nonces) != 1 || heard[2].After != nil {
		t.Fatalf("heard %+v", heard)
	}
}

func TestACertificateIsRenewedOverTheConnection(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	renew := time.Now().Add(time.Hour)
	p, _ := w.pool(func(c *Config) {
		c.RenewAt = func(time.Time) time.Time { mu.Lock(); defer mu.Unlock(); return renew }
	})
	c := w.start("pod", nil)
	p.Keep("a", []Target{c.Target})
	up(t, p, "pod")
	before, err := p.pod("pod").current()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.pod("pod").certify(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	before.close()
	eventually(t, "another certificate", func() bool {
		l, err := p.pod("pod").current()
		return err == nil && l.peer.SerialNumber.Cmp(before.peer.SerialNumber) != 0
	})
}

func TestAPodWithAnotherCAIsToldFromOneThatIsAway(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	var trusted *x509.CertPool
	roots := func() (*x509.CertPool, error) {
		mu.Lock()
		defer mu.Unlock()
		if trusted == nil {
			return nil, errors.New("no CA yet")
		}
		return trusted, nil
	}
	trust := func() { mu.Lock(); trusted, _ = w.roots(); mu.Unlock() }
	trust()
	p, _ := w.pool()
	c := w.start("pod", roots)
	p.Keep("a", []Target{c.Target, {UID: "away", Addresses: []string{"127.0.0.9"}}, {UID: "unborn"}})
	first := up(t, p, "pod")
	// The operator lost its CA. The pod hears of the new one later.
	w.rotate()
	p.pod("pod").link.close()
	eventually(t, "the pod rejects us", func() bool {
		l, _ := p.Link("pod")
		return !l.Up && KindOf(l.Failure) != NotEnrolled && l.Failure != nil
	})
	client, _ := p.Client("pod")
	if _, err := client.State(t.Context()); err == nil {
		t.Fatal("a pod of another CA answers")
	}
	trust()
	if s := up(t, p, "pod"); s.Boot != first.Boot {
		t.Fatal("it is another pod")
	}
	for _, uid := range []string{"away", "unborn"} {
		if l, ok := p.Link(uid); !ok || l.Up || KindOf(l.Failure) != Unreachable {
			t.Fatalf("%s: %+v", uid, l)
		}
	}
}

func TestAnotherPodAtTheAddressIsNotTalkedTo(t *testing.T) {
	w := newWorld(t)
	p, _ := w.pool()
	c := w.start("new", nil)
	p.Keep("a", []Target{{UID: "old", Addresses: c.Addresses}})
	eventually(t, "the mistake is noticed", func() bool { l, _ := p.Link("old"); return KindOf(l.Failure) == OtherPod })
	if c.control.State().CertificateNotAfter != 0 {
		t.Fatal("it was enrolled")
	}
}

func TestAPodThatCannotBeReachedCostsLittle(t *testing.T) {
	w := newWorld(t)
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.77"), w.port)))
	if err != nil {
		t.Fatal(err)
	}
	tries := make(chan struct{}, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
			tries <- struct{}{}
		}
	}()
	defer func() { _ = l.Close(); <-done }()
	p, _ := w.pool(func(c *Config) { c.Backoff = 50 * time.Millisecond })
	target := Target{UID: "pod", Addresses: []string{"127.0.0.77"}}
	p.Keep("a", []Target{target})
	time.Sleep(2 * time.Second)
	if n := len(tries); n < 2 || n > 8 {
		t.Fatalf("%d tries in two seconds", n)
	}
	// A hint that something changed has it tried at once.
	n := len(tries)
	target.Hint = "started"
	p.Keep("a", []Target{target})
	eventually(t, "another try", func() bool { return len(tries) > n })
}

func TestAStandbyDialsNobody(t *testing.T) {
	w := newWorld(t)
	c := w.start("pod", nil)
	p := NewPool(Config{Operator: w.operator(), Port: w.port})
	if !p.NeedLeaderElection() {
		t.Fatal("every replica would dial")
	}
	p.Keep("a", []Target{c.Target})
	p.Want("pod", controlapi.Desired{})
	time.Sleep(100 * time.Millisecond)
	if up, down := p.streams(); up+down != 0 || c.control.Refused() != 0 || c.control.State().CertificateNotAfter != 0 {
		t.Fatal("it dials")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	client, _ := p.Client("pod")
	if _, err := client.State(ctx); KindOf(err) != Unreachable {
		t.Fatal(err)
	}
}

func TestPeersAreSetAndWhoIsConnectedIsTold(t *testing.T) {
	w := newWorld(t)
	p, _ := w.pool()
	c := w.start("pod", nil, func(cfg *server.Config) { cfg.VerifiedPeers = true })
	p.Keep("a", []Target{c.Target})
	up(t, p, "pod")
	phone := p.Phone()
	s, err := phone.SetPeers(t.Context(), "pod",
		&controlapi.Peers{Verified: true, Revision: 7, Addresses: []string{"127.0.0.2", "fd00::1"}})
	if err != nil || !s.Peers.Verified || s.Peers.Revision != 7 || s.Peers.Count != 2 {
		t.Fatalf("%+v, %v", s, err)
	}
	for _, bad := range []*controlapi.Peers{
		{Revision: 8, Addresses: []string{"127.0.0.3"}},
		{Verified: true, Revision: 6, Addresses: []string{"127.0.0.3"}},
		{Verified: true, Revision: 8, Addresses: []string{"everybody"}},
	} {
		if _, err := phone.SetPeers(t.Context(), "pod", bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).Dial(
		"tcp", c.Listening()[0].Address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("version\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	connected, err := phone.Connections(t.Context(), "pod")
	if err != nil || len(connected.Peers) != 1 || connected.Peers[0].Address != "127.0.0.2" {
		t.Fatalf("%+v, %v", connected, err)
	}
	if _, err := phone.Connections(t.Context(), "nobody"); err == nil {
		t.Error("a pod that is not kept answers")
	}
}
