// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package control is what a cache does for the operator on its control port:
// who is let in and how that is secured is controlapi's business.
package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/memkeep/memkeep/cache-server/controlapi"
	"github.com/memkeep/memkeep/cache-server/server"
)

const (
	// maxDesired is the longest Desired in bytes: the addresses of more pods than
	// a cluster has.
	maxDesired = 4 << 20
	// maxMessage is the longest of the other messages.
	maxMessage = 4 << 10
	// maxDrain is the longest drain in seconds.
	maxDrain = 3600
)

// Cache is what the operator sees of a cache and may change; it is
// *server.Server.
type Cache interface {
	Listening() []server.Listening
	GateRequired() bool
	GateOpen() bool
	SetGate(open bool) error
	PeersState() server.PeersState
	SetPeers(list server.PeerList) error
	Held() []netip.Addr
	Nonces() []string
	Connected() (peers []server.Peer, left int)
	Changed() <-chan struct{}
	Budget() int64
	SetBudget(bytes int64) error
	Statistics() map[string]string
	Draining() bool
}

// Config is what the control port of a cache needs to know.
type Config struct {
	// Identity is who the pod is.
	Identity *controlapi.Identity
	// Cache is what is controlled.
	Cache Cache
	// Members is where the cache's clients look up the members of the fleet.
	Members *Members
	// Drain begins a drain and returns.
	Drain func(atMost time.Duration)
	// Logger hears what happens.
	Logger *slog.Logger
	// Build is the version of the program.
	Build string
}

// port is the control port of one cache.
type port struct {
	Config
	server *controlapi.Server
	// changing is held while a Desired is read and followed: one at a time, so
	// that their memory is bounded and each is followed as a whole.
	changing sync.Mutex
}

// New makes the control port of a cache, which does not listen yet.
func New(cfg Config) *controlapi.Server {
	p := &port{Config: cfg}
	p.server = controlapi.NewServer(controlapi.ServerConfig{
		Identity: cfg.Identity, Logger: cfg.Logger, Build: cfg.Build, State: p.state, Changed: cfg.Cache.Changed,
	})
	desired := controlapi.Take(maxDesired, p.follow)
	p.server.Handle("PUT "+controlapi.PathDesired, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.changing.Lock()
		defer p.changing.Unlock()
		desired.ServeHTTP(w, r)
	}))
	p.server.Handle("GET "+controlapi.PathConnections, controlapi.Answer(p.connections))
	p.server.Handle("GET "+controlapi.PathStatistics, controlapi.Answer(p.statistics))
	p.server.Handle("POST "+controlapi.PathEgress, controlapi.Take(maxMessage, newEgress().try))
	p.server.Handle("POST "+controlapi.PathDrain, controlapi.Take(maxMessage, p.drain))
	return p.server
}

func (p *port) state() controlapi.State {
	var out controlapi.State
	for _, l := range p.Cache.Listening() {
		out.Listeners = append(out.Listeners, controlapi.Listener{Address: l.Address.String(), Accepting: l.Accepting})
	}
	out.GateRequired, out.GateOpen = p.Cache.GateRequired(), p.Cache.GateOpen()
	peers := p.Cache.PeersState()
	out.Peers = controlapi.PeersState{Verified: peers.Verified, Revision: peers.Revision, Count: peers.Count}
	if !peers.Updated.IsZero() {
		out.Peers.Updated = peers.Updated.Unix()
	}
	for _, a := range p.Cache.Held() {
		out.Peers.Held = append(out.Peers.Held, a.String())
	}
	out.Nonces = p.Cache.Nonces()
	out.MembershipVersion, _ = p.Members.Snapshot()
	out.MemoryBytes = p.Cache.Budget()
	out.Draining = p.Cache.Draining()
	return out
}

// follow does what the operator wants. All of it is read before any of it is
// done; then it is done in this order, and what is refused ends it: the gate
// opens last.
func (p *port) follow(_ context.Context, d *controlapi.Desired) (controlapi.State, error) {
	steps, err := p.steps(d)
	if err != nil {
		return controlapi.State{}, controlapi.AsInvalid(err)
	}
	// Watchers are told of what was done, also where the rest was refused.
	defer p.server.Touch()
	for _, step := range steps {
		switch err := step(); {
		case errors.Is(err, server.ErrNoGate), errors.Is(err, server.ErrVerifiedOnly):
			return controlapi.State{}, controlapi.AsRefused(err)
		case err != nil:
			return controlapi.State{}, controlapi.AsInvalid(err)
		}
	}
	return p.server.State(), nil
}

// steps reads what is wanted.
func (p *port) steps(d *controlapi.Desired) ([]func() error, error) {
	var steps []func() error
	if m := d.Membership; m != nil {
		list, err := parseMembership(m)
		if err != nil {
			return nil, fmt.Errorf("membership: %w", err)
		}
		steps = append(steps, func() error { return within("membership", p.Members.set(m.Version, list)) })
	}
	if l := d.Limits; l != nil {
		if l.MemoryBytes < 1 {
			return nil, fmt.Errorf("limits.memoryBytes is %d: it must be positive", l.MemoryBytes)
		}
		steps = append(steps, func() error { return within("limits.memoryBytes", p.Cache.SetBudget(l.MemoryBytes)) })
	}
	if peers := d.Peers; peers != nil {
		list, err := parsePeers(peers)
		if err != nil {
			return nil, fmt.Errorf("peers: %w", err)
		}
		steps = append(steps, func() error { return within("peers", p.Cache.SetPeers(list)) })
	}
	if g := d.Gate; g != nil {
		if boot := p.server.State().Boot; g.Boot != "" && g.Boot != boot {
			return nil, fmt.Errorf("gate.boot is that of another start: this one is %s", boot)
		}
		steps = append(steps, func() error { return within("gate", p.Cache.SetGate(g.Open)) })
	}
	return steps, nil
}

// within says in which field an error is.
func within(field string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	return nil
}

func parsePeers(p *controlapi.Peers) (server.PeerList, error) {
	list := server.PeerList{Verified: p.Verified, Revision: p.Revision, Addresses: make([]netip.Addr, len(p.Addresses))}
	for i, text := range p.Addresses {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return list, fmt.Errorf("addresses[%d] is no IP address: %w", i, err)
		}
		list.Addresses[i] = a
	}
	return list, nil
}

func (p *port) connections(context.Context) (controlapi.Connections, error) {
	peers, left := p.Cache.Connected()
	out := controlapi.Connections{Peers: make([]controlapi.Peer, len(peers)), Left: left}
	for i, peer := range peers {
		out.Peers[i] = controlapi.Peer{
			Address: peer.Address.String(), Connections: peer.Connections, Since: peer.Since,
		}
	}
	return out, nil
}

func (p *port) statistics(context.Context) (controlapi.Statistics, error) {
	return controlapi.Statistics{General: p.Cache.Statistics()}, nil
}

func (p *port) drain(_ context.Context, d *controlapi.Drain) (controlapi.State, error) {
	if d.Seconds < 1 || d.Seconds > maxDrain {
		return controlapi.State{}, controlapi.AsInvalid(
			fmt.Errorf("seconds is %d: it must be from 1 to %d", d.Seconds, maxDrain))
	}
	p.Drain(time.Duration(d.Seconds) * time.Second)
	p.server.Touch()
	return p.server.State(), nil
}
