// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package fleetclient

import (
	"context"
	"errors"
	"net/http"

	"k8s.io/apimachinery/pkg/types"

	"github.com/memkeep/memkeep/cache-server/controlapi"
)

// Phone asks pods by their UID; it is what the proof of enforcement speaks with.
type Phone struct {
	pool *Pool
}

// Phone returns a way to ask the pool's pods by their UID.
func (p *Pool) Phone() *Phone { return &Phone{p} }

func (p *Phone) call(ctx context.Context, uid types.UID, method, path string, in, out any) error {
	c, ok := p.pool.Client(string(uid))
	if !ok {
		return &Error{Unreachable, errors.New("no connection is kept to the pod")}
	}
	return c.call(ctx, method, path, in, out)
}

// State asks a pod what it knows about itself.
func (p *Phone) State(ctx context.Context, uid types.UID) (*controlapi.State, error) {
	out := &controlapi.State{}
	return out, p.call(ctx, uid, http.MethodGet, controlapi.PathState, nil, out)
}

// SetPeers tells a cache whom it serves, and returns what it knows then.
func (p *Phone) SetPeers(ctx context.Context, uid types.UID, peers *controlapi.Peers) (*controlapi.State, error) {
	out := &controlapi.State{}
	return out, p.call(ctx, uid, http.MethodPut, controlapi.PathDesired, controlapi.Desired{Peers: peers}, out)
}

// Connections asks a cache who is connected.
func (p *Phone) Connections(ctx context.Context, uid types.UID) (*controlapi.Connections, error) {
	out := &controlapi.Connections{}
	return out, p.call(ctx, uid, http.MethodGet, controlapi.PathConnections, nil, out)
}

// Dial has a prober dial.
func (p *Phone) Dial(ctx context.Context, uid types.UID, d *controlapi.Dial) (*controlapi.Dialled, error) {
	out := &controlapi.Dialled{}
	return out, p.call(ctx, uid, http.MethodPost, controlapi.PathDial, d, out)
}

// Egress has a cache try to connect to a decoy.
func (p *Phone) Egress(ctx context.Context, uid types.UID, e *controlapi.Egress) (*controlapi.Result, error) {
	out := &controlapi.Result{}
	return out, p.call(ctx, uid, http.MethodPost, controlapi.PathEgress, e, out)
}

// Gate opens or closes the gate of a pod, if it still is the process that
// started as boot.
func (p *Phone) Gate(ctx context.Context, uid types.UID, boot string, open bool) error {
	pod := p.pool.pod(string(uid))
	if pod == nil {
		return &Error{Unreachable, errors.New("no connection is kept to the pod")}
	}
	l, err := pod.currentOf(boot)
	if err != nil {
		return err
	}
	p.pool.WantGate(string(uid), boot, open)
	var out controlapi.State
	wanted := controlapi.Desired{Gate: &controlapi.Gate{Open: open}}
	return l.call(ctx, http.MethodPut, controlapi.PathDesired, wanted, &out)
}
