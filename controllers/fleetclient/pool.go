// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package fleetclient is the one room of the operator with sockets: it keeps a
// connection to the control port of every pod, enrols the pods, hears what they
// say about themselves and tells them what the operator wants.
package fleetclient

import (
	"context"
	"crypto/ecdsa"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/memkeep/memkeep/cache-server/controlapi"
)

// maxDialling is how many connections may be in the making at once.
const maxDialling = 16

// Config is what a Pool needs to know.
type Config struct {
	// Operator is who we are.
	Operator *controlapi.Operator
	// Sign signs a pod's key for the pod with this UID.
	Sign func(key *ecdsa.PublicKey, uid string) (controlapi.Certificate, error)
	// RenewAt returns when a pod's certificate with this end is to be renewed.
	RenewAt func(notAfter time.Time) time.Time
	// Port is the pods' control port; 0 means controlapi.Port.
	Port uint16
	// Logger hears what happens.
	Logger logr.Logger
	// Backoff is the pause after the first failure; it doubles with each. 0 means
	// half a second.
	Backoff time.Duration
}

// Target is a pod to keep a connection to.
type Target struct {
	// UID is the pod's.
	UID string
	// Name is for people.
	Name string
	// Addresses are the pod's, without port. As long as there are none, nothing is dialled.
	Addresses []string
	// Hint is anything that changes when the pod may have become reachable, such
	// as the start of its container: the next try is then made at once.
	Hint string
}

// Change is something new about a pod.
type Change struct {
	// Owner is whose pod it is, as given to Keep.
	Owner string
	// UID is the pod's.
	UID string
	// Before and After are what the pod said; nil while there is no connection.
	Before, After *controlapi.State
}

// Link tells how it stands with the connection to a pod.
type Link struct {
	// Up tells that there is one.
	Up bool
	// Since is when that began.
	Since time.Time
	// Failure is why there is none, or why the pod did not follow what is wanted;
	// nil while nothing is wrong.
	Failure error
}

// Pool keeps a connection to each of many pods. It works while Start runs,
// which the manager has only its leader do.
type Pool struct {
	cfg       Config
	transport *http.Transport
	dialling  chan struct{}
	counts    counts

	mu      sync.Mutex
	running context.Context // nil until Start
	pods    map[string]*pod
	hear    []func(Change)
	work    sync.WaitGroup
}

// NewPool returns a pool that keeps nothing yet.
func NewPool(cfg Config) *Pool {
	if cfg.Port == 0 {
		cfg.Port = controlapi.Port
	}
	if cfg.Backoff == 0 {
		cfg.Backoff = leastBackoff
	}
	return &Pool{
		cfg: cfg, transport: newTransport(), dialling: make(chan struct{}, maxDialling), pods: map[string]*pod{},
		counts: newCounts(),
	}
}

// NeedLeaderElection tells the manager that only its leader dials.
func (p *Pool) NeedLeaderElection() bool { return true }

// Start keeps the connections until ctx ends.
func (p *Pool) Start(ctx context.Context) error {
	p.mu.Lock()
	p.running = ctx
	for _, pod := range p.pods {
		p.start(ctx, pod)
	}
	p.mu.Unlock()
	<-ctx.Done()
	p.mu.Lock()
	p.running = nil
	p.mu.Unlock()
	p.work.Wait()
	p.transport.CloseIdleConnections()
	return nil
}

// start begins to keep a connection. The caller holds the lock.
func (p *Pool) start(ctx context.Context, pod *pod) {
	ctx, cancel := context.WithCancel(ctx)
	pod.stop = cancel
	p.work.Go(func() { pod.keep(ctx) })
}

// Hear has f called with every change. f must not block, nor call the pool's
// Keep. It is to be called before Start.
func (p *Pool) Hear(f func(Change)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hear = append(p.hear, f)
}

func (p *Pool) tell(c Change) {
	p.mu.Lock()
	hear := p.hear
	p.mu.Unlock()
	for _, f := range hear {
		f(c)
	}
}

// Keep makes targets the pods of this owner: connections to others of its pods
// are closed, and what was wanted of them is forgotten.
func (p *Pool) Keep(owner string, targets []Target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for uid, pod := range p.pods {
		if pod.owner == owner && !slices.ContainsFunc(targets, func(t Target) bool { return t.UID == uid }) {
			delete(p.pods, uid)
			pod.end()
		}
	}
	for i := range targets {
		t := &targets[i]
		if known := p.pods[t.UID]; known != nil {
			if known.owner == owner {
				known.retarget(t)
			}
			continue
		}
		pod := newPod(p, owner, *t)
		p.pods[t.UID] = pod
		if p.running != nil {
			p.start(p.running, pod)
		}
	}
}

func (p *Pool) pod(uid string) *pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pods[uid]
}

// Said returns what a pod said last; false while there is no connection.
func (p *Pool) Said(uid string) (controlapi.State, bool) {
	if pod := p.pod(uid); pod != nil {
		if s := pod.said(); s != nil {
			return *s, true
		}
	}
	return controlapi.State{}, false
}

// Link tells how it stands with the connection to a pod; false for a pod that
// is not kept.
func (p *Pool) Link(uid string) (Link, bool) {
	if pod := p.pod(uid); pod != nil {
		return pod.standing(), true
	}
	return Link{}, false
}

// Client returns a client of a pod; false for a pod that is not kept.
func (p *Pool) Client(uid string) (*Client, bool) {
	if pod := p.pod(uid); pod != nil {
		return &Client{pod}, true
	}
	return nil, false
}

// Want tells what is wanted of a pod: at once if there is a connection, and
// again with every new one and every minute, until something else is wanted in
// the same field. Fields that are nil stay as they were. A Gate does not belong
// here; see WantGate.
func (p *Pool) Want(uid string, d controlapi.Desired) {
	if pod := p.pod(uid); pod != nil {
		pod.want(d)
	}
}

// WantGate opens or closes the gate of a pod as it was started this time: with
// another start, whose Boot is another, it is forgotten. What was proven of a
// process says nothing of the next one.
func (p *Pool) WantGate(uid, boot string, open bool) {
	if pod := p.pod(uid); pod != nil {
		pod.wantGate(boot, open)
	}
}
