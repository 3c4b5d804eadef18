// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

// What is observed, as messages call it.
const (
	namespaces     = "Namespaces"
	policies       = "NetworkPolicies"
	services       = "Services"
	endpointSlices = "EndpointSlices"
	pods           = "Pods"
)

// debounce gathers changes that come together into one pass of the reconcile loop.
const debounce = 200 * time.Millisecond

// Observer watches everybody's objects for the fleets that it was told of.
type Observer struct {
	manager ctrl.Manager
	// foreign knows the policies of other projects.
	foreign *foreignKinds

	watchers map[string]*watcher
	fleets   *register

	mu  sync.Mutex
	ctx context.Context // of the manager's leadership; nil before
	// queue is the reconcile loop's.
	queue workqueue.TypedRateLimitingInterface[reconcile.Request]
	// clients are told of changes among the pods that may connect.
	clients []func(types.NamespacedName)
}

// Options are an Observer's.
type Options struct {
	// Rediscover is how often it is asked which kinds of policies there are; two
	// minutes when zero.
	Rediscover time.Duration
}

// New returns an Observer that works once the manager leads.
func New(mgr ctrl.Manager, options Options) (*Observer, error) {
	o := &Observer{
		manager: mgr, watchers: map[string]*watcher{}, fleets: newRegister(),
	}
	for name, k := range o.kinds() {
		o.watchers[name] = &watcher{kind: k, state: o.everyFleet}
	}
	var err error
	if o.foreign, err = newForeignKinds(o, options.Rediscover); err != nil {
		return nil, err
	}
	if err := mgr.Add(o); err != nil {
		return nil, fmt.Errorf("add observer: %w", err)
	}
	return o, nil
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: a standby
// watches nothing of others.
func (o *Observer) NeedLeaderElection() bool { return true }

// Start implements manager.Runnable.
func (o *Observer) Start(ctx context.Context) error {
	o.mu.Lock()
	o.ctx = ctx
	o.mu.Unlock()
	o.adjust()
	o.foreign.run(ctx)
	<-ctx.Done()
	return nil
}

// Source passes the fleets that a change concerns to a controller.
func (o *Observer) Source() source.Source {
	return source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.queue = queue
		return nil
	})
}

// OnClients has f told of each fleet whose client pods, or their addresses, may
// have changed: at once, from an informer, so that f must not wait for
// anything. It has to be called before the manager starts.
func (o *Observer) OnClients(f func(fleet types.NamespacedName)) {
	o.clients = append(o.clients, f)
}

// NeedsPods tells whether a fleet needs the cluster's pods to be watched.
func NeedsPods(m *v1alpha1.Memcache) bool {
	return m.Spec.Access.EffectivePeers() == v1alpha1.PeersVerified ||
		m.Spec.Access.EffectiveMode() == v1alpha1.AccessAudit
}

// Track tells of a fleet and of the addresses of its pods and Services. From
// then on changes that concern it lead to a reconciliation. Telling the same
// twice does nothing.
func (o *Observer) Track(m *v1alpha1.Memcache, addresses []string) {
	if o.fleets.put(m, addresses) {
		o.adjust()
	}
}

// Forget ends what Track began.
func (o *Observer) Forget(fleet types.NamespacedName) {
	if o.fleets.remove(fleet) {
		o.adjust()
	}
}

// adjust watches what the fleets need and nothing else.
func (o *Observer) adjust() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ctx == nil {
		return
	}
	some, needPods := o.fleets.needs()
	for name, w := range o.watchers {
		w.run(o.ctx, some && (name != pods || needPods))
	}
	o.foreign.want(some)
}

// enqueue has fleets reconciled soon.
func (o *Observer) enqueue(fleets []types.NamespacedName) {
	o.mu.Lock()
	queue := o.queue
	o.mu.Unlock()
	if queue == nil {
		return
	}
	for _, f := range fleets {
		queue.AddAfter(reconcile.Request{NamespacedName: f}, debounce)
	}
}

// everyFleet has every fleet reconciled: something is observed now, or is not any more.
func (o *Observer) everyFleet() {
	fleets := o.fleets.all()
	o.tellClients(fleets)
	o.enqueue(fleets)
}
