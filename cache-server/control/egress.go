// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"fmt"
	"time"

	"github.com/memkeep/memkeep/cache-server/controlapi"
	"github.com/memkeep/memkeep/cache-server/dialling"
)

// egressPause is the least time between two tries to get out.
const egressPause = 500 * time.Millisecond

// egress is the one connection that a cache makes: to a decoy, when the operator
// asks whether that is possible. Nothing is sent, and only the cache port of
// what can be a pod is dialled, one at a time.
type egress struct {
	dialler dialling.Dialler
	turn    chan struct{}
}

func newEgress() *egress {
	return &egress{
		dialler: dialling.Dialler{Ports: []uint16{controlapi.DecoyPort}, Concurrent: 1},
		turn:    make(chan struct{}, 1),
	}
}

// try tries to connect. That it cannot is what the fleet's policy promises.
func (e *egress) try(ctx context.Context, to *controlapi.Egress) (controlapi.Result, error) {
	select {
	case e.turn <- struct{}{}:
	case <-ctx.Done():
		return controlapi.Result{}, fmt.Errorf("wait for another try: %w", ctx.Err())
	}
	defer func() { time.AfterFunc(egressPause, func() { <-e.turn }) }()
	return e.dialler.Dial(ctx, controlapi.Target{
		Network: "tcp", Address: to.Address, TimeoutMillis: to.TimeoutMillis,
	}), nil
}
