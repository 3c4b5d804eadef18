// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package fleetclient

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/memkeep/memkeep/cache-server/controlapi"
)

const (
	// leastBackoff and mostBackoff bound the pause between two tries.
	leastBackoff = 500 * time.Millisecond
	mostBackoff  = time.Minute
	// lasting is how long a connection lives that counts as a success.
	lasting = 30 * time.Second
	// confirmPeriod is how often a pod is told again what is wanted: its list of
	// peers gets older with every minute in which nobody does.
	confirmPeriod = time.Minute
	// maxState is the longest State in bytes.
	maxState = 1 << 20
	// soonest is the least time between two renewals of a certificate.
	soonest = time.Minute
)

// pod is one pod of a pool.
type pod struct {
	pool  *Pool
	owner string
	uid   string
	name  string
	stop  context.CancelFunc // nil until the pool runs; under its lock
	kick  chan struct{}      // holds one if the next try is to be made at once
	push  chan struct{}      // holds one if something is to be told

	mu      sync.Mutex
	target  Target
	ended   bool
	desired controlapi.Desired
	gate    *controlapi.Gate
	boot    string // that the gate is for
	link    *link
	state   *controlapi.State
	since   time.Time
	failure error
}

func newPod(p *Pool, owner string, t Target) *pod {
	return &pod{
		pool: p, owner: owner, uid: t.UID, name: t.Name, target: t, since: time.Now(),
		kick: make(chan struct{}, 1), push: make(chan struct{}, 1),
		failure: &Error{Unreachable, errors.New("it was not dialled yet")},
	}
}

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// end stops keeping the connection. The caller holds the pool's lock.
func (p *pod) end() {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	if p.stop != nil {
		p.stop()
	}
}

// retarget takes what changed about the pod.
func (p *pod) retarget(t *Target) {
	p.mu.Lock()
	changed := !reflect.DeepEqual(p.target, *t)
	p.target = *t
	p.mu.Unlock()
	if changed {
		poke(p.kick)
	}
}

func (p *pod) want(d controlapi.Desired) {
	p.mu.Lock()
	before := p.desired
	if d.Peers != nil {
		p.desired.Peers = d.Peers
	}
	if d.Membership != nil {
		p.desired.Membership = d.Membership
	}
	if d.Limits != nil {
		p.desired.Limits = d.Limits
	}
	changed := !reflect.DeepEqual(before, p.desired)
	p.mu.Unlock()
	if changed {
		poke(p.push)
	}
}

func (p *pod) wantGate(boot string, open bool) {
	p.mu.Lock()
	changed := p.gate == nil || p.boot != boot || p.gate.Open != open
	p.gate, p.boot = &controlapi.Gate{Open: open}, boot
	p.mu.Unlock()
	if changed {
		poke(p.push)
	}
}

// wanted returns what a pod of this boot is to be told; false for nothing.
func (p *pod) wanted(boot string) (controlapi.Desired, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.desired
	if p.gate != nil && p.boot == boot {
		d.Gate = p.gate
	}
	return d, d != controlapi.Desired{}
}

// current returns the connection that is there.
func (p *pod) current() (*link, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link == nil {
		return nil, p.failure
	}
	return p.link, nil
}

// currentOf returns the connection that is there, if it is to the process that
// started as boot. A connection outlives no process.
func (p *pod) currentOf(boot string) (*link, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.link == nil:
		return nil, p.failure
	case p.state.Boot != boot:
		return nil, &Error{OtherPod, errors.New("the pod was started anew since")}
	}
	return p.link, nil
}

func (p *pod) said() *controlapi.State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

func (p *pod) standing() Link {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Link{Up: p.state != nil, Since: p.since, Failure: p.failure}
}

// heard takes what the pod says about itself, over which connection.
func (p *pod) heard(l *link, s *controlapi.State) {
	p.mu.Lock()
	before := p.state
	if before == nil {
		p.since = time.Now()
	}
	if l != p.link {
		p.failure = nil
	}
	p.link, p.state = l, s
	ended := p.ended
	p.mu.Unlock()
	if !ended && !reflect.DeepEqual(before, s) {
		p.pool.tell(Change{Owner: p.owner, UID: p.uid, Before: before, After: s})
	}
}

// lost notes that there is no connection any more.
func (p *pod) lost(err error) {
	p.mu.Lock()
	before := p.state
	if before != nil {
		p.since = time.Now()
	}
	p.link, p.state, p.failure = nil, nil, err
	ended := p.ended
	p.mu.Unlock()
	if !ended && before != nil {
		p.pool.tell(Change{Owner: p.owner, UID: p.uid, Before: before})
	}
}

// keep keeps a connection to the pod until ctx ends.
func (p *pod) keep(ctx context.Context) {
	backoff := p.pool.cfg.Backoff
	log := p.pool.cfg.Logger.WithValues("pod", p.name, "uid", p.uid)
	told := Kind("")
	for ctx.Err() == nil {
		began := time.Now()
		err := p.converse(ctx)
		if ctx.Err() != nil {
			break
		}
		if err == nil { // the certificate was renewed
			continue
		}
		p.lost(err)
		p.pool.counts.failed(KindOf(err))
		if kind := KindOf(err); kind != told || time.Since(began) > lasting {
			told = kind
			log.V(1).Info("No control connection", "reason", err.Error())
		}
		if time.Since(began) > lasting {
			backoff = p.pool.cfg.Backoff
		}
		select {
		case <-ctx.Done():
		case <-p.kick:
			backoff = p.pool.cfg.Backoff
		case <-time.After(backoff/2 + rand.N(backoff)): //nolint:gosec // jitter is no secret
			backoff = min(2*backoff, mostBackoff)
		}
	}
	p.lost(&Error{Unreachable, context.Cause(ctx)})
}

// converse makes a connection and uses it for as long as it lives. Nil means
// that the pod has a new certificate and wants to be connected to anew.
func (p *pod) converse(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l, err := p.connect(ctx)
	if err != nil {
		return err
	}
	defer l.close()
	first := time.AfterFunc(callTimeout, cancel)
	resp, err := l.open(ctx, http.MethodGet, controlapi.PathWatch, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxState)
	s, err := nextState(lines)
	if err != nil {
		return err
	}
	first.Stop()
	p.heard(l, s)
	ended := make(chan error, 1)
	go func() { ended <- p.listen(l, lines) }()
	err = p.follow(ctx, l, s.Boot, ended)
	cancel()
	l.close()
	if err == nil {
		<-ended
	}
	return err
}

// connect returns a connection to the pod, enrolled.
func (p *pod) connect(ctx context.Context) (*link, error) {
	select {
	case p.pool.dialling <- struct{}{}:
		defer func() { <-p.pool.dialling }()
	case <-ctx.Done():
		return nil, connecting(ctx.Err())
	}
	p.mu.Lock()
	t := p.target
	p.mu.Unlock()
	cfg := &p.pool.cfg
	l, err := dial(ctx, p.pool.transport, &t, cfg.Port, cfg.Operator.ClientConfig(t.UID))
	if KindOf(err) != NotEnrolled {
		return l, err
	}
	if err := p.enrol(ctx, &t); err != nil {
		return nil, err
	}
	return dial(ctx, p.pool.transport, &t, cfg.Port, cfg.Operator.ClientConfig(t.UID))
}

// enrol gives a pod its first certificate, over a connection that is used for
// nothing else.
func (p *pod) enrol(ctx context.Context, t *Target) error {
	l, err := dial(ctx, p.pool.transport, t, p.pool.cfg.Port, p.pool.cfg.Operator.EnrolmentConfig(t.UID))
	if err != nil {
		return err
	}
	defer l.close()
	return p.certify(ctx, l)
}

// certify signs what the pod at the other end of a connection asks for.
func (p *pod) certify(ctx context.Context, l *link) error {
	err := func() error {
		var request controlapi.CertificateRequest
		if err := l.call(ctx, http.MethodGet, controlapi.PathRequest, nil, &request); err != nil {
			return err
		}
		key, err := controlapi.ParseRequest(request, l.peer, p.uid)
		if err != nil {
			return connecting(err)
		}
		certificate, err := p.pool.cfg.Sign(key, p.uid)
		if err != nil {
			return &Error{Broken, err}
		}
		var state controlapi.State
		return l.call(ctx, http.MethodPut, controlapi.PathCertificate, certificate, &state)
	}()
	p.pool.counts.enrolled(err == nil)
	return err
}

// listen hears the pod until the connection ends.
func (p *pod) listen(l *link, lines *bufio.Scanner) error {
	for {
		s, err := nextState(lines)
		if err != nil {
			return err
		}
		p.heard(l, s)
	}
}

func nextState(lines *bufio.Scanner) (*controlapi.State, error) {
	if !lines.Scan() {
		err := lines.Err()
		if err == nil {
			err = errors.New("the pod ended the connection")
		}
		return nil, connecting(err)
	}
	s := &controlapi.State{}
	if err := json.Unmarshal(lines.Bytes(), s); err != nil {
		return nil, &Error{Broken, err}
	}
	return s, nil
}

// follow tells the pod what is wanted and renews its certificate, until ended
// says that the connection is over.
func (p *pod) follow(ctx context.Context, l *link, boot string, ended <-chan error) error {
	renew := time.NewTimer(max(soonest, time.Until(p.pool.cfg.RenewAt(l.peer.NotAfter))))
	defer renew.Stop()
	confirm := time.NewTicker(confirmPeriod)
	defer confirm.Stop()
	p.tellPod(ctx, l, boot)
	for {
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
			return connecting(ctx.Err())
		case <-p.push:
			p.tellPod(ctx, l, boot)
		case <-confirm.C:
			p.tellPod(ctx, l, boot)
		case <-renew.C:
			if err := p.certify(ctx, l); err == nil {
				return nil
			}
			renew.Reset(soonest)
		}
	}
}

// tellPod tells the pod what is wanted. What it refuses is noted, and told
// again with the next confirmation.
func (p *pod) tellPod(ctx context.Context, l *link, boot string) {
	d, ok := p.wanted(boot)
	if !ok {
		return
	}
	var s controlapi.State
	err := l.call(ctx, http.MethodPut, controlapi.PathDesired, d, &s)
	p.pool.counts.pushed(err == nil)
	p.mu.Lock()
	again := KindOf(p.failure) != KindOf(err)
	p.failure = err
	p.mu.Unlock()
	if err != nil && again {
		p.pool.cfg.Logger.Info("A pod does not do what is wanted", "pod", p.name, "reason", err.Error())
	}
	// What came of it the watch tells, in the right order with everything else.
}
