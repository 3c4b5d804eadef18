// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"

	"github.com/memkeep/memkeep/cache-server/controlapi"
)

// pace is how fast and how often the keeper works.
type pace struct {
	// debounce gathers changes among pods.
	debounce time.Duration
	// refresh is how often a list is confirmed that has not changed.
	refresh time.Duration
	// audit is how often members in mode Audit are asked who is connected.
	audit time.Duration
	// patience bounds one call.
	patience time.Duration
	// stranger is how long an address is not asked for again that was no client's.
	stranger time.Duration
	// live is how long an address counts that the API server told and the
	// observed pods do not have yet.
	live time.Duration
	// leastRetry and mostRetry bound the pause after a failure.
	leastRetry, mostRetry time.Duration
}

func defaultPace() pace {
	return pace{
		debounce: 50 * time.Millisecond, refresh: 20 * time.Second, audit: 15 * time.Second, patience: 5 * time.Second,
		stranger: time.Second, live: 5 * time.Second, leastRetry: 200 * time.Millisecond, mostRetry: 20 * time.Second,
	}
}

const (
	// workers is how many members are told at the same time.
	workers = 16
	// livePerSecond and liveBurst bound the questions to the API server, for
	// whoever can connect to a member can have it hold addresses.
	livePerSecond = 10
	liveBurst     = 20
	// refreshJitter is added to the periods at random.
	refreshJitter = 0.2
)

// Keeper keeps the locks of all fleets. Only the leader does.
type Keeper struct {
	phone   Phone
	world   World
	logger  logr.Logger
	pace    pace
	changed func(types.NamespacedName)
	limiter *rate.Limiter

	// resolve has the fleets whose clients are to be resolved, tell the members
	// that are to be told, and ask those in mode Audit.
	resolve workqueue.TypedDelayingInterface[types.NamespacedName]
	tell    workqueue.TypedRateLimitingInterface[types.UID]
	ask     workqueue.TypedDelayingInterface[types.NamespacedName]
	// held has the members that hold addresses which they do not know.
	held workqueue.TypedInterface[types.UID]

	mu      sync.Mutex
	fleets  map[types.NamespacedName]*fleet
	members map[types.UID]*member
}

// fleet is what the keeper holds about one.
type fleet struct {
	Fleet
	// list is what its members are told; none while revision is 0.
	list     []string
	revision int64
	// live are addresses that the API server told, and until when they count.
	live map[string]time.Time
	// strangers are addresses that were asked for in vain, and until when.
	strangers map[string]time.Time
	report    Report
}

// member is a pod of a fleet.
type member struct {
	fleet types.NamespacedName
	// revision is what the member has, once it has told us.
	revision int64
	met      bool
	// holds are addresses that it does not know.
	holds []string
}

// New returns a keeper that calls changed whenever a fleet's report is another.
func New(phone Phone, world World, logger logr.Logger, changed func(types.NamespacedName)) *Keeper {
	return newKeeper(phone, world, logger, changed, defaultPace())
}

func newKeeper(phone Phone, world World, logger logr.Logger, changed func(types.NamespacedName), p pace) *Keeper {
	return &Keeper{
		phone: phone, world: world, logger: logger, pace: p, changed: changed,
		limiter: rate.NewLimiter(livePerSecond, liveBurst),
		resolve: workqueue.NewTypedDelayingQueue[types.NamespacedName](),
		tell: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[types.UID](p.leastRetry, p.mostRetry)),
		ask:    workqueue.NewTypedDelayingQueue[types.NamespacedName](),
		held:   workqueue.NewTyped[types.UID](),
		fleets: map[types.NamespacedName]*fleet{}, members: map[types.UID]*member{},
	}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (k *Keeper) NeedLeaderElection() bool { return true }

// Start works until ctx ends.
func (k *Keeper) Start(ctx context.Context) error {
	var wait sync.WaitGroup
	wait.Go(func() { drain(k.resolve, func(key types.NamespacedName) { k.resolveFleet(key) }) })
	wait.Go(func() { drain(k.held, func(uid types.UID) { k.answerHeld(ctx, uid) }) })
	for range workers {
		wait.Go(func() { drain(k.tell, func(uid types.UID) { k.tellMember(ctx, uid) }) })
		wait.Go(func() { drain(k.ask, func(key types.NamespacedName) { k.askFleet(ctx, key) }) })
	}
	<-ctx.Done()
	k.resolve.ShutDown()
	k.held.ShutDown()
	k.tell.ShutDown()
	k.ask.ShutDown()
	wait.Wait()
	return nil
}

// drain works through a queue until it is shut down.
func drain[T comparable](q workqueue.TypedInterface[T], work func(T)) {
	for {
		item, shutdown := q.Get()
		if shutdown {
			return
		}
		work(item)
		q.Done(item)
	}
}

// Observe tells the keeper how a fleet is now. It waits for nothing.
func (k *Keeper) Observe(now Fleet) {
	if !now.Verified && !now.Audit {
		k.Forget(now.Key)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.fleets[now.Key]
	if f == nil || f.UID != now.UID {
		f = &fleet{live: map[string]time.Time{}, strangers: map[string]time.Time{}}
		k.fleets[now.Key] = f
	}
	if f.Audit != now.Audit {
		f.report = Report{}
	}
	for _, uid := range f.Members {
		if !slices.Contains(now.Members, uid) {
			delete(k.members, uid)
		}
	}
	for _, uid := range now.Members {
		if k.members[uid] == nil || k.members[uid].fleet != now.Key {
			k.members[uid] = &member{fleet: now.Key}
			if now.Verified && f.revision > 0 {
				k.tell.Add(uid)
			}
		}
	}
	f.Fleet = now
	k.resolve.Add(now.Key)
	if now.Audit {
		k.ask.Add(now.Key)
	}
}

// Forget ends what Observe began.
func (k *Keeper) Forget(key types.NamespacedName) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if f := k.fleets[key]; f != nil {
		for _, uid := range f.Members {
			delete(k.members, uid)
		}
		delete(k.fleets, key)
	}
}

// ClientsChanged tells the keeper that a fleet's clients, or their addresses,
// may have changed. It waits for nothing.
func (k *Keeper) ClientsChanged(key types.NamespacedName) {
	k.mu.Lock()
	f := k.fleets[key]
	audit := f != nil && f.Audit
	k.mu.Unlock()
	if f == nil {
		return
	}
	k.resolve.AddAfter(key, k.pace.debounce)
	if audit {
		k.ask.AddAfter(key, k.pace.debounce)
	}
}

// Saw tells the keeper what a member says about itself. It waits for nothing.
func (k *Keeper) Saw(uid types.UID, state *controlapi.State) {
	k.mu.Lock()
	defer k.mu.Unlock()
	m := k.members[uid]
	if m == nil {
		return
	}
	f := k.fleets[m.fleet]
	if f == nil || !f.Verified {
		return
	}
	m.revision, m.met = state.Peers.Revision, true
	if m.holds = state.Peers.Held; len(m.holds) > 0 {
		k.held.Add(uid)
	}
	if f.revision > 0 && m.revision != f.revision {
		k.tell.Add(uid)
	}
}

// Report returns what is known about who is connected to a fleet in mode Audit.
func (k *Keeper) Report(key types.NamespacedName) Report {
	k.mu.Lock()
	defer k.mu.Unlock()
	if f := k.fleets[key]; f != nil {
		return f.report
	}
	return Report{}
}

// jittered is a period and up to a fifth more.
func jittered(d time.Duration) time.Duration {
	return d + time.Duration(rand.Float64()*refreshJitter*float64(d)) //nolint:gosec // it spreads load and guards nothing
}
