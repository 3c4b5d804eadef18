// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/types"

	"github.com/memkeep/memkeep/cache-server/controlapi"
	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/cache-server/server"
	"github.com/memkeep/memkeep/controllers/access"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

var sessions = types.NamespacedName{Namespace: "caches", Name: "sessions"}

// cluster is who there is: what the operator observes of it, which may be late,
// and what the API server knows. Pods with the label client are clients.
type cluster struct {
	mu       sync.Mutex
	observed []access.Pod
	late     []access.Pod // known to the API server alone
	unknown  bool
	asked    map[string]int
}

func (c *cluster) set(pods ...access.Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.observed = pods
}

func (c *cluster) Clients(types.NamespacedName) (out []access.Pod, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unknown {
		return nil, errors.New("pods may not be listed")
	}
	for i := range c.observed {
		if c.Admits(sessions, &c.observed[i]) {
			out = append(out, c.observed[i])
		}
	}
	return out, nil
}

func having(pods []access.Pod, address string) (out []access.Pod) {
	for _, p := range pods {
		if slices.Contains(p.Addresses, address) {
			out = append(out, p)
		}
	}
	return out
}

func (c *cluster) At(address string) ([]access.Pod, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return having(c.observed, address), !c.unknown
}

func (c *cluster) Admits(_ types.NamespacedName, p *access.Pod) bool { return p.Labels["client"] != "" }

func (c *cluster) Live(_ context.Context, address string) ([]access.Pod, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked[address]++
	return having(slices.Concat(c.observed, c.late), address), nil
}

func client(name string, addresses ...string) access.Pod {
	return access.Pod{Name: name, UID: types.UID(name), Addresses: addresses, Labels: map[string]string{"client": "true"}}
}

func stranger(name string, addresses ...string) access.Pod {
	return access.Pod{Name: name, UID: types.UID(name), Addresses: addresses}
}

// fleetOfServers are real cache servers, reached as the control port reaches them.
type fleetOfServers struct {
	mu      sync.Mutex
	servers map[types.UID]*member1
	calls   int
	down    bool
}

type member1 struct {
	*server.Server
	addr string
	end  func()
}

func (f *fleetOfServers) get(uid types.UID) (*member1, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if m := f.servers[uid]; m != nil && !f.down {
		return m, nil
	}
	return nil, fmt.Errorf("member %s cannot be reached", uid)
}

func (m *member1) state() *controlapi.State {
	p := m.PeersState()
	s := &controlapi.State{Peers: controlapi.PeersState{Verified: p.Verified, Revision: p.Revision, Count: p.Count}}
	for _, a := range m.Held() {
		s.Peers.Held = append(s.Peers.Held, a.String())
	}
	return s
}

func (f *fleetOfServers) State(_ context.Context, uid types.UID) (*controlapi.State, error) {
	m, err := f.get(uid)
	if err != nil {
		return nil, err
	}
	return m.state(), nil
}

func (f *fleetOfServers) SetPeers(
	_ context.Context, uid types.UID, peers *controlapi.Peers,
) (*controlapi.State, error) {
	m, err := f.get(uid)
	if err != nil {
		return nil, err
	}
	list := server.PeerList{Verified: peers.Verified, Revision: peers.Revision}
	for _, a := range peers.Addresses {
		list.Addresses = append(list.Addresses, netip.MustParseAddr(a))
	}
	if err := m.SetPeers(list); err != nil {
		return nil, err
	}
	return m.state(), nil
}

func (f *fleetOfServers) Connections(_ context.Context, uid types.UID) (*controlapi.Connections, error) {
	m, err := f.get(uid)
	if err != nil {
		return nil, err
	}
	found, left := m.Connected()
	out := &controlapi.Connections{Left: left}
	for _, p := range found {
		out.Peers = append(out.Peers, controlapi.Peer{
			Address: p.Address.String(), Connections: p.Connections, Since: p.Since,
		})
	}
	return out, nil
}

// stage is a keeper with members and a cluster.
type stage struct {
	*Keeper
	t       *testing.T
	cluster *cluster
	fleet   *fleetOfServers
	news    chan types.NamespacedName
	watches context.Context
}

func newStage(t *testing.T, change func(*pace)) *stage {
	t.Helper()
	s := &stage{
		t: t, cluster: &cluster{asked: map[string]int{}}, fleet: &fleetOfServers{servers: map[types.UID]*member1{}},
		news: make(chan types.NamespacedName, 100),
	}
	p := defaultPace()
	p.leastRetry = 20 * time.Millisecond
	if change != nil {
		change(&p)
	}
	s.Keeper = newKeeper(s.fleet, s.cluster, testr.New(t), func(key types.NamespacedName) {
		select {
		case s.news <- key:
		default:
		}
	}, p)
	ctx, cancel := context.WithCancel(context.Background())
	s.watches = ctx
	done := make(chan error, 1)
	go func() { done <- s.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the keeper ended with %v", err)
		}
		for _, m := range s.fleet.servers {
			m.end()
		}
	})
	return s
}

// serve starts a member, anew if there is one.
func (s *stage) serve(uid types.UID, verified bool) *member1 {
	s.t.Helper()
	e, err := engine.New(engine.Config{MaxBytes: 64 << 20, MaxItemSize: 1 << 20})
	if err != nil {
		s.t.Fatal(err)
	}
	srv, err := server.New(server.Config{
		Engine: e, MaxItemSize: 1 << 20, MaxConnections: 2000, Version: "1.6.45", VerifiedPeers: verified,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	l, err := server.Listen(s.t.Context(), netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		s.t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	ctx, cancel := context.WithCancel(s.watches)
	m := &member1{Server: srv, addr: l.Addr().String()}
	watched := make(chan struct{})
	go func() { // as the control port's watch tells
		defer close(watched)
		for {
			changed := m.Changed()
			s.Saw(uid, m.state())
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
		}
	}()
	m.end = sync.OnceFunc(func() {
		cancel()
		<-watched
		ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
		defer stop()
		if err := errors.Join(srv.Drain(ctx), <-served, e.Close()); err != nil {
			s.t.Errorf("end a member: %v", err)
		}
	})
	s.fleet.mu.Lock()
	defer s.fleet.mu.Unlock()
	s.fleet.servers[uid] = m
	return m
}

func dial(t *testing.T, m *member1, from string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := d.Dial("tcp", m.addr)
	if err != nil {
		t.Fatalf("dial from %s: %v", from, err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn
}

// asks sends a request and answers whether it was served, and after how long.
func asks(t *testing.T, conn net.Conn) (served bool, after time.Duration) {
	t.Helper()
	const want = "VERSION 1.6.45\r\n"
	began := time.Now()
	if _, err := io.WriteString(conn, "version\r\n"); err != nil {
		return false, time.Since(began)
	}
	got := make([]byte, len(want))
	_, err := io.ReadFull(conn, got)
	var netErr net.Error
	if errors.As(err, &netErr) && netErr.Timeout() {
		t.Fatal("neither served nor closed")
	}
	return err == nil && string(got) == want, time.Since(began)
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for range 500 {
		if holds() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s: not within 5 s", what)
}
