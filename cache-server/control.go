// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/memkeep/memkeep/cache-server/control"
	"github.com/memkeep/memkeep/cache-server/controlapi"
	"github.com/memkeep/memkeep/cache-server/server"
)

// controlPlan is the control port of a pod of a fleet.
type controlPlan struct {
	ca        string // the file with the operator's CA, which may come later
	uid       string
	addresses []netip.AddrPort
	members   control.Members
}

// planControl reads what belongs to the control port. Without a CA there is none.
func planControl(ca, uid string, addrs []netip.Addr) (*controlPlan, error) {
	if ca == "" {
		return nil, nil //nolint:nilnil // nil means that there is none
	}
	if err := controlapi.CheckUID(uid); err != nil {
		return nil, fmt.Errorf("--control-ca needs the environment's POD_UID: %w", err)
	}
	c := &controlPlan{ca: ca, uid: uid}
	for _, addr := range addrs {
		c.addresses = append(c.addresses, netip.AddrPortFrom(addr, controlapi.Port))
	}
	return c, nil
}

// serve lets the operator in until the result is called. The cache serves in any case.
func (c *controlPlan) serve(ctx context.Context, p *plan, srv *server.Server, d *drainer) (stop func(), err error) {
	identity, err := controlapi.NewIdentity(c.uid, controlapi.NewBundle(c.ca).Roots)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what is wrong
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	port := control.New(control.Config{
		Identity: identity, Cache: srv, Members: &c.members, Build: version, Logger: p.log,
		Drain: func(atMost time.Duration) { d.begin(ctx, atMost) },
	})
	var running sync.WaitGroup
	running.Go(func() { port.Run(ctx, c.listen) })
	return func() {
		cancel()
		running.Wait()
	}, nil
}

// listen binds all addresses or none.
func (c *controlPlan) listen(ctx context.Context) ([]net.Listener, error) {
	var listeners []net.Listener
	for _, addr := range c.addresses {
		l, err := server.Listen(ctx, addr)
		if err != nil {
			for _, l := range listeners {
				err = errors.Join(err, l.Close())
			}
			return nil, err //nolint:wrapcheck // it names the address
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// drainer drains a server once, whoever asks first: the operator, or the end of the process. Whoever has less time
// decides how long it takes.
type drainer struct {
	srv    *server.Server
	once   sync.Once
	cancel context.CancelCauseFunc
	done   chan struct{}
	err    error // once done is closed
}

// begin starts the drain and returns a channel that is closed at its end.
func (d *drainer) begin(ctx context.Context, atMost time.Duration) <-chan struct{} {
	d.once.Do(func() {
		ctx, d.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
		d.done = make(chan struct{})
		go func() {
			defer close(d.done)
			d.err = d.srv.Drain(ctx)
		}()
	})
	time.AfterFunc(atMost, func() { d.cancel(context.DeadlineExceeded) })
	return d.done
}
