// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package fleetclient

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"

	"github.com/memkeep/memkeep/cache-server/control"
	"github.com/memkeep/memkeep/cache-server/controlapi"
	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/cache-server/server"
	"github.com/memkeep/memkeep/controllers/pki"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// world is an operator's CA and the pods that trust it.
type world struct {
	t         *testing.T
	authority atomic.Pointer[pki.Authority]
	port      uint16
	hosts     atomic.Int32
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	w.rotate()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.port = netip.MustParseAddrPort(l.Addr().String()).Port()
	_ = l.Close()
	return w
}

// rotate makes another CA in place of the one before.
func (w *world) rotate() {
	w.t.Helper()
	a, err := pki.New(time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	w.authority.Store(a)
}

func (w *world) roots() (*x509.CertPool, error) { return w.authority.Load().Roots(), nil }

// operator returns the operator that the CA is of.
func (w *world) operator() *controlapi.Operator {
	return &controlapi.Operator{
		Certificate: func() (*tls.Certificate, error) { return w.authority.Load().OperatorCertificate(time.Now()) },
		Roots:       w.roots,
	}
}

// pool runs a pool until the test ends, or the returned function is called.
func (w *world) pool(change ...func(*Config)) (*Pool, func()) {
	w.t.Helper()
	cfg := Config{
		Operator: w.operator(), RenewAt: pki.RenewAt, Port: w.port, Logger: logr.Discard(), Backoff: 20 * time.Millisecond,
		Sign: func(key *ecdsa.PublicKey, uid string) (controlapi.Certificate, error) {
			return w.authority.Load().PodCertificate(key, uid, time.Now())
		},
	}
	for _, f := range change {
		f(&cfg)
	}
	p := NewPool(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = p.Start(ctx)
	}()
	stop := sync.OnceFunc(func() { cancel(); <-done })
	w.t.Cleanup(stop)
	return p, stop
}

// cache is a pod: a whole cache server with its control port, on an address of
// loopback of its own.
type cache struct {
	*server.Server
	Target
	members *control.Members
	control *controlapi.Server
	drained chan time.Duration
	stop    func()
}

// start runs a pod until the test ends or its stop is called.
func (w *world) start(uid string, roots controlapi.Roots, change ...func(*server.Config)) *cache {
	w.t.Helper()
	n := w.hosts.Add(1)
	return w.startAt(fmt.Sprintf("127.0.%d.%d", 1+n/200, 1+n%200), uid, roots, change...)
}

func (w *world) startAt(host, uid string, roots controlapi.Roots, change ...func(*server.Config)) *cache {
	t := w.t
	t.Helper()
	if roots == nil {
		roots = w.roots
	}
	const items = 16 << 20
	e, err := engine.New(engine.Config{MaxBytes: items, MaxItemSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	c := &cache{members: &control.Members{}, drained: make(chan time.Duration, 1)}
	c.Target = Target{UID: uid, Name: uid, Addresses: []string{host}}
	cfg := server.Config{
		Engine: e, MaxItemSize: 1 << 20, MaxConnections: 64, Version: "1.6.45", Logger: slog.New(slog.DiscardHandler),
		MaxBudget: 2 * items, Membership: c.members, Settings: server.Settings{Threads: 1},
	}
	for _, f := range change {
		f(&cfg)
	}
	if c.Server, err = server.New(cfg); err != nil {
		t.Fatal(err)
	}
	identity, err := controlapi.NewIdentity(uid, roots)
	if err != nil {
		t.Fatal(err)
	}
	c.control = control.New(control.Config{
		Identity: identity, Cache: c.Server, Members: c.members, Logger: slog.New(slog.DiscardHandler), Build: "v1",
		Drain: func(d time.Duration) { c.drained <- d },
	})
	listen := func(port uint16) net.Listener {
		l, err := server.Listen(t.Context(), netip.AddrPortFrom(netip.MustParseAddr(host), port))
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	caches, controls := listen(0), listen(w.port)
	var running sync.WaitGroup
	running.Go(func() { _ = c.Serve(caches) })
	running.Go(func() { _ = c.control.Serve(controls) })
	c.stop = sync.OnceFunc(func() {
		c.control.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err := c.Drain(ctx)
		running.Wait()
		if err := errors.Join(err, e.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(c.stop)
	return c
}

// eventually waits until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within ten seconds: %s", what)
		}
	}
}

// up waits for a connection to a pod and returns what it said.
func up(t *testing.T, p *Pool, uid string) controlapi.State {
	t.Helper()
	var s controlapi.State
	eventually(t, "a connection to "+uid, func() bool {
		var ok bool
		s, ok = p.Said(uid)
		return ok
	})
	return s
}
