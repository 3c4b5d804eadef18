// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/memkeep/memkeep/cache-server/controlapi"
	"github.com/memkeep/memkeep/controllers/access"
)

// resolveFleet makes a fleet's list anew, and has its members told if it is another.
func (k *Keeper) resolveFleet(key types.NamespacedName) {
	k.mu.Lock()
	f := k.fleets[key]
	wanted := f != nil && f.Verified && !f.Frozen
	k.mu.Unlock()
	if !wanted {
		return
	}
	picked, err := k.world.Clients(key)
	if err != nil {
		// What was told stays in force; the observer tells when there is news.
		k.logger.V(1).Info("The clients of a fleet are not known now", "fleet", key, "reason", err.Error())
		return
	}
	list := access.Served(picked, k.at)
	k.mu.Lock()
	defer k.mu.Unlock()
	if f = k.fleets[key]; f == nil || !f.Verified || f.Frozen {
		return
	}
	list = f.withLive(list, k.at, time.Now())
	if len(f.live) > 0 {
		k.resolve.AddAfter(key, k.pace.live)
	}
	if f.revision > 0 && slices.Equal(list, f.list) {
		return
	}
	f.list, f.revision = list, max(time.Now().UnixMicro(), f.revision+1)
	for _, uid := range f.Members {
		k.tell.Add(uid)
	}
}

func (k *Keeper) at(address string) []access.Pod {
	pods, _ := k.world.At(address)
	return pods
}

// withLive adds the addresses that the API server told and that the observed
// pods do not have yet. Once they have them, or time is up, the observed pods
// alone decide.
func (f *fleet) withLive(list []string, at func(string) []access.Pod, now time.Time) []string {
	for a, until := range f.live {
		if now.After(until) || len(at(a)) > 0 {
			delete(f.live, a)
			continue
		}
		list = append(list, a)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// tellMember tells a member whom it serves.
func (k *Keeper) tellMember(ctx context.Context, uid types.UID) {
	ctx, cancel := context.WithTimeout(ctx, k.pace.patience)
	defer cancel()
	peers, met := k.due(uid)
	if peers == nil {
		k.tell.Forget(uid)
		return
	}
	state, err := (*controlapi.State)(nil), error(nil)
	if !met {
		if state, err = k.phone.State(ctx, uid); err == nil {
			k.Saw(uid, state)
			peers, _ = k.due(uid)
		}
	}
	if err == nil && peers != nil {
		state, err = k.phone.SetPeers(ctx, uid, peers)
	}
	if err != nil {
		k.logger.V(1).Info("A member was not told its peers; it is tried again", "pod", uid, "error", err.Error())
		k.mu.Lock()
		if m := k.members[uid]; m != nil {
			m.met = false // it may have what we do not know
		}
		k.mu.Unlock()
		k.tell.AddRateLimited(uid)
		return
	}
	k.tell.Forget(uid)
	k.tell.AddAfter(uid, jittered(k.pace.refresh))
	if state != nil {
		k.Saw(uid, state)
	}
}

// due returns what a member is to be told, nil for nothing, and whether it has
// told us what it has.
func (k *Keeper) due(uid types.UID) (peers *controlapi.Peers, met bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	m := k.members[uid]
	if m == nil {
		return nil, false
	}
	f := k.fleets[m.fleet]
	if f == nil || !f.Verified || f.revision == 0 {
		return nil, false
	}
	// An operator before us may have counted further: ours is the newer truth.
	f.revision = max(f.revision, m.revision)
	return &controlapi.Peers{Verified: true, Revision: f.revision, Addresses: f.list}, m.met
}

// answerHeld looks at the addresses that a member holds. What the observed pods
// do not tell, the API server is asked for: a pod that has just started may not
// have come through the watch yet.
func (k *Keeper) answerHeld(ctx context.Context, uid types.UID) {
	k.mu.Lock()
	m := k.members[uid]
	var f *fleet
	if m != nil {
		f = k.fleets[m.fleet]
	}
	if f == nil || f.Frozen {
		k.mu.Unlock()
		return
	}
	key, now := f.Key, time.Now()
	var unknown []string
	for _, a := range m.holds {
		a = access.Address(a)
		if now.After(f.strangers[a]) && !slices.Contains(f.list, a) {
			unknown = append(unknown, a)
		}
	}
	for a, until := range f.strangers {
		if now.After(until) {
			delete(f.strangers, a)
		}
	}
	k.mu.Unlock()
	k.resolveFleet(key)
	for _, a := range unknown {
		k.askLive(ctx, key, a)
	}
}

// askLive asks the API server whose an address is, and serves it if it is a client's.
func (k *Keeper) askLive(ctx context.Context, key types.NamespacedName, address string) {
	if pods, known := k.world.At(address); len(pods) > 0 || !known || !k.limiter.Allow() {
		return // what is observed decides, or this is one question too many
	}
	ctx, cancel := context.WithTimeout(ctx, k.pace.patience)
	defer cancel()
	pods, err := k.world.Live(ctx, address)
	if err != nil {
		k.logger.V(1).Info("An address that is held could not be asked for", "fleet", key, "error", err.Error())
		return
	}
	client := access.OwnedBy(pods, func(p *access.Pod) bool { return k.world.Admits(key, p) })
	k.mu.Lock()
	if f := k.fleets[key]; f != nil {
		if client {
			f.live[address] = time.Now().Add(k.pace.live)
		} else {
			f.strangers[address] = time.Now().Add(k.pace.stranger)
		}
	}
	k.mu.Unlock()
	if client {
		k.resolveFleet(key)
	}
}
