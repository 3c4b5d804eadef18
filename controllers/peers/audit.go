// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/memkeep/memkeep/controllers/access"
)

// Connected is who is connected to a fleet, by address.
type Connected map[string]Since

// Since is the moment from which an address has been connected.
type Since = time.Time

// Connected asks members who is connected. The answer is whole or an error.
func (k *Keeper) Connected(ctx context.Context, members []types.UID) (Connected, error) {
	ctx, cancel := context.WithTimeout(ctx, k.pace.patience)
	defer cancel()
	var mu sync.Mutex
	var wait sync.WaitGroup
	var failed error
	out := Connected{}
	for _, uid := range members {
		wait.Go(func() {
			answer, err := k.phone.Connections(ctx, uid)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = fmt.Errorf("ask member %s who is connected: %w", uid, err)
				return
			}
			for _, p := range answer.Peers {
				since, a := time.Unix(p.Since, 0), access.Address(p.Address)
				if before, ok := out[a]; !ok || since.Before(before) {
					out[a] = since
				}
			}
		})
	}
	wait.Wait()
	return out, failed
}

// askFleet counts who is connected to a fleet in mode Audit and is no client.
func (k *Keeper) askFleet(ctx context.Context, key types.NamespacedName) {
	k.mu.Lock()
	f := k.fleets[key]
	var members []types.UID
	if f != nil && f.Audit {
		members = f.Members
	}
	wanted := f != nil && f.Audit
	frozen := wanted && f.Frozen
	k.mu.Unlock()
	if !wanted {
		return
	}
	report := Report{}
	if !frozen {
		report = k.count(ctx, key, members)
	}
	k.mu.Lock()
	changed := false
	if f = k.fleets[key]; f != nil && f.Audit {
		changed = f.report != report
		f.report = report
		k.ask.AddAfter(key, jittered(k.pace.audit))
	}
	k.mu.Unlock()
	if changed {
		k.changed(key)
	}
}

// count asks the members. Whoever is connected and cannot be told to be a
// client is counted: nodes and what is outside of the cluster among them.
func (k *Keeper) count(ctx context.Context, key types.NamespacedName, members []types.UID) Report {
	connected, err := k.Connected(ctx, members)
	if err != nil {
		if ctx.Err() == nil {
			k.logger.V(1).Info("Who is connected is not known now", "fleet", key, "error", err.Error())
		}
		return Report{}
	}
	n := 0
	for a := range connected {
		pods, known := k.world.At(a)
		if !known {
			return Report{}
		}
		if !access.OwnedBy(pods, func(p *access.Pod) bool { return k.world.Admits(key, p) }) {
			n++
		}
	}
	return Report{Known: true, WouldBeCutOff: n}
}
