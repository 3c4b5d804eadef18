// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package fleetclient

import (
	"context"
	"net/http"
	"time"

	"github.com/memkeep/memkeep/cache-server/controlapi"
)

// Client asks one pod, over the connection that a Pool keeps to it. Every call
// fails at once while there is none. Errors have a Kind.
type Client struct {
	pod *pod
}

// call uses the connection that is there.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	l, err := c.pod.current()
	if err != nil {
		return err
	}
	return l.call(ctx, method, path, in, out)
}

// State returns what the pod knows about itself at this moment.
func (c *Client) State(ctx context.Context) (controlapi.State, error) {
	var out controlapi.State
	err := c.call(ctx, http.MethodGet, controlapi.PathState, nil, &out)
	return out, err
}

// Connections returns who is connected to the pod.
func (c *Client) Connections(ctx context.Context) (controlapi.Connections, error) {
	var out controlapi.Connections
	err := c.call(ctx, http.MethodGet, controlapi.PathConnections, nil, &out)
	return out, err
}

// Statistics returns the pod's numbers.
func (c *Client) Statistics(ctx context.Context) (controlapi.Statistics, error) {
	var out controlapi.Statistics
	err := c.call(ctx, http.MethodGet, controlapi.PathStatistics, nil, &out)
	return out, err
}

// Drain has the pod stop accepting and answer what has begun.
func (c *Client) Drain(ctx context.Context, atMost time.Duration) (controlapi.State, error) {
	var out controlapi.State
	err := c.call(ctx, http.MethodPost, controlapi.PathDrain, controlapi.Drain{Seconds: int(atMost.Seconds())}, &out)
	return out, err
}

// Dial has a prober connect somewhere.
func (c *Client) Dial(ctx context.Context, d controlapi.Dial) (controlapi.Dialled, error) {
	var out controlapi.Dialled
	err := c.call(ctx, http.MethodPost, controlapi.PathDial, d, &out)
	return out, err
}
