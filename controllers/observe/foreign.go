// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"

	"github.com/memkeep/memkeep/controllers/access"
)

// +kubebuilder:rbac:groups=policy.networking.k8s.io,resources=adminnetworkpolicies;baselineadminnetworkpolicies;clusternetworkpolicies,verbs=list;watch
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumnetworkpolicies;ciliumclusterwidenetworkpolicies,verbs=list;watch
// +kubebuilder:rbac:groups=crd.projectcalico.org;projectcalico.org,resources=networkpolicies;globalnetworkpolicies,verbs=list;watch
// +kubebuilder:rbac:groups=crd.antrea.io,resources=networkpolicies;clusternetworkpolicies,verbs=list;watch
// +kubebuilder:rbac:groups=networking.k8s.aws,resources=applicationnetworkpolicies;clusternetworkpolicies,verbs=list;watch

const (
	rediscover = 2 * time.Minute
	// rediscoverJitter is added at random, so that operators do not ask in step.
	rediscoverJitter = 0.2
	// retryDiscovery follows a failure.
	retryDiscovery = 10 * time.Second
)

// foreignResources are the resources of other projects whose objects select
// pods and say who reaches them.
var foreignResources = map[string][]string{
	"policy.networking.k8s.io": {"adminnetworkpolicies", "baselineadminnetworkpolicies", "clusternetworkpolicies"},
	"cilium.io":                {"ciliumnetworkpolicies", "ciliumclusterwidenetworkpolicies"},
	"crd.projectcalico.org":    {"networkpolicies", "globalnetworkpolicies"},
	"projectcalico.org":        {"networkpolicies", "globalnetworkpolicies"},
	"crd.antrea.io":            {"networkpolicies", "clusternetworkpolicies"},
	"networking.k8s.aws":       {"applicationnetworkpolicies", "clusternetworkpolicies"},
}

// foreignKinds watches those of foreignResources that the cluster has.
type foreignKinds struct {
	observer  *Observer
	discovery *discovery.DiscoveryClient
	dynamic   dynamic.Interface
	period    time.Duration
	// kick asks for a discovery now.
	kick chan struct{}

	mu       sync.Mutex
	wanted   bool
	since    time.Time
	asked    bool
	watchers map[schema.GroupResource]*watcher
}

func newForeignKinds(o *Observer, period time.Duration) (*foreignKinds, error) {
	if period == 0 {
		period = rediscover
	}
	finder, err := discovery.NewDiscoveryClientForConfigAndClient(o.manager.GetConfig(), o.manager.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("make discovery client: %w", err)
	}
	reader, err := dynamic.NewForConfigAndClient(o.manager.GetConfig(), o.manager.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("make client for policies of other kinds: %w", err)
	}
	return &foreignKinds{
		observer: o, discovery: finder, dynamic: reader, period: period,
		kick: make(chan struct{}, 1), watchers: map[schema.GroupResource]*watcher{},
	}, nil
}

// want says whether anything is to be watched at all.
func (f *foreignKinds) want(wanted bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wanted == wanted {
		return
	}
	f.wanted, f.since = wanted, time.Now()
	if !wanted {
		for _, w := range f.watchers {
			w.run(f.observer.ctx, false)
		}
		clear(f.watchers)
		f.asked = false
	}
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// run looks for kinds, again and again, until ctx ends.
func (f *foreignKinds) run(ctx context.Context) {
	go func() {
		var next time.Duration
		for {
			timer := time.NewTimer(next)
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-f.kick:
				timer.Stop()
			case <-timer.C:
			}
			next = wait.Jitter(f.period, rediscoverJitter)
			f.mu.Lock()
			wanted := f.wanted
			f.mu.Unlock()
			if wanted && f.discover(ctx) != nil {
				next = retryDiscovery
			}
		}
	}()
}

// discover starts watching kinds that came, and stops for kinds that went.
func (f *foreignKinds) discover(ctx context.Context) error {
	found := map[schema.GroupResource]found{}
	for group, names := range foreignResources {
		if err := f.ask(ctx, group, names, found); err != nil {
			return err
		}
	}
	// Calico's own API shows the same objects under another group.
	for resource := range found {
		if resource.Group == "projectcalico.org" {
			if _, twice := found[schema.GroupResource{
				Group: "crd.projectcalico.org", Resource: resource.Resource,
			}]; twice {
				delete(found, resource)
			}
		}
	}
	if f.settle(ctx, found) {
		f.observer.everyFleet()
	}
	return nil
}

// settle watches what was found, and tells whether that is news.
func (f *foreignKinds) settle(ctx context.Context, found map[schema.GroupResource]found) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.wanted {
		return false
	}
	changed := !f.asked
	f.asked = true
	for resource, w := range f.watchers {
		if _, there := found[resource]; !there {
			w.run(ctx, false)
			delete(f.watchers, resource)
			changed = true
		}
	}
	for resource, what := range found {
		if f.watchers[resource] == nil {
			f.watchers[resource] = f.watch(what)
			f.watchers[resource].run(ctx, true)
			changed = true
		}
	}
	return changed
}

// found is a resource that the cluster has.
type found struct {
	resource schema.GroupVersionResource
	kind     string
}

// ask adds what the cluster has of a group's resources.
func (f *foreignKinds) ask(
	ctx context.Context, group string, names []string, to map[schema.GroupResource]found,
) error {
	answer := &metav1.APIGroup{}
	err := f.discovery.RESTClient().Get().AbsPath("/apis", group).Do(ctx).Into(answer)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("ask for %s: %w", group, err)
	}
	for _, version := range answer.Versions {
		list, err := f.discovery.ServerResourcesForGroupVersionWithContext(ctx, version.GroupVersion)
		if apierrors.IsNotFound(err) {
			continue // It went in between.
		}
		if err != nil {
			return fmt.Errorf("ask for %s: %w", version.GroupVersion, err)
		}
		for _, r := range list.APIResources {
			key := schema.GroupResource{Group: group, Resource: r.Name}
			if _, twice := to[key]; twice || !slices.Contains(names, r.Name) {
				continue
			}
			to[key] = found{key.WithVersion(version.Version), r.Kind}
		}
	}
	return nil
}

func (f *foreignKinds) watch(what found) *watcher {
	example := &unstructured.Unstructured{}
	example.SetGroupVersionKind(what.resource.GroupVersion().WithKind(what.kind))
	return &watcher{
		state: f.observer.everyFleet,
		kind: kind{
			name: what.resource.GroupResource().String(), example: example, strip: stripForeign,
			indexers: cache.Indexers{byNamespace: cache.MetaNamespaceIndexFunc},
			source: func() (cache.ListerWatcherWithContext, error) {
				return &cache.ListWatch{
					ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
						return f.dynamic.Resource(what.resource).List(ctx, o)
					},
					WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
						return f.dynamic.Resource(what.resource).Watch(ctx, o)
					},
				}, nil
			},
			changed: typedChange(f.changed),
		},
	}
}

func (f *foreignKinds) changed(old, now *unstructured.Unstructured) {
	if old != nil && now != nil && old.GetGeneration() == now.GetGeneration() && now.GetGeneration() != 0 {
		return
	}
	if namespace := either(old, now).GetNamespace(); namespace != "" {
		f.observer.enqueue(f.observer.fleets.inNamespace(namespace))
		return
	}
	f.observer.everyFleet()
}

// around adds the policies of other kinds that may select pods of a namespace.
// It answers false while they are being read.
func (f *foreignKinds) around(namespace string, to *access.World) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.asked {
		if time.Since(f.since) < patience {
			return false
		}
		to.Unseen = append(to.Unseen, "which kinds of policies the cluster has is not known")
		return true
	}
	for resource, w := range f.watchers {
		switch state, why := w.ready(); state {
		case reading:
			return false
		case refused:
			to.Unseen = append(to.Unseen, why)
		case observed:
		}
		for _, space := range []string{namespace, metav1.NamespaceNone} {
			for _, o := range typed[unstructured.Unstructured](w.find(byNamespace, space)) {
				to.Foreign = append(to.Foreign, foreignPolicies(resource.Group, o)...)
			}
		}
	}
	return true
}

// foreignPolicies are the specifications in an object. Cilium allows several.
func foreignPolicies(group string, o *unstructured.Unstructured) []access.Foreign {
	one := func(spec any) access.Foreign {
		content, _ := spec.(map[string]any)
		return access.Foreign{
			Group: group, Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName(), Spec: content,
		}
	}
	var out []access.Foreign
	if spec, there := o.Object["spec"]; there {
		out = append(out, one(spec))
	}
	if specs, ok := o.Object["specs"].([]any); ok {
		for _, spec := range specs {
			out = append(out, one(spec))
		}
	}
	return out
}
