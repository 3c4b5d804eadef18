// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// patience is how long a kind may take to be read for the first time before
// that counts as not observed.
const patience = 10 * time.Second

// kind describes what is watched: how to list and watch it, what is kept of an
// object, and by what it is found.
type kind struct {
	// name is what messages call the objects, in the plural.
	name string
	// example is an object of the kind.
	example runtime.Object
	// source lists and watches it; an error means that it cannot be asked for at all.
	source func() (cache.ListerWatcherWithContext, error)
	// strip keeps what is judged.
	strip cache.TransformFunc
	// indexers find objects.
	indexers cache.Indexers
	// changed is told of every change: old is nil for a new object, now for one that is gone.
	changed func(old, now any)
}

// watcher keeps the objects of one kind while it runs.
type watcher struct {
	kind
	// state is told whenever ready may have another answer.
	state func()

	mu       sync.Mutex
	informer cache.SharedIndexInformer
	cancel   context.CancelFunc
	since    time.Time
	err      error
}

// run starts or stops watching; doing so twice does nothing.
func (w *watcher) run(ctx context.Context, wanted bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case wanted && w.cancel == nil:
		ctx, w.cancel = context.WithCancel(ctx)
		w.since = time.Now()
		w.err = w.start(ctx)
	case !wanted && w.cancel != nil:
		w.cancel()
		w.cancel, w.informer, w.err = nil, nil, nil
	}
}

// start makes a new informer: a stopped one cannot be started again.
func (w *watcher) start(ctx context.Context) error {
	source, err := w.source()
	if err != nil {
		return fmt.Errorf("watch %s: %w", w.name, err)
	}
	informer := cache.NewSharedIndexInformer(noting{source, w}, w.example, 0, w.indexers)
	if err := informer.SetTransform(w.strip); err != nil {
		return fmt.Errorf("watch %s: %w", w.name, err)
	}
	// What went wrong is noted where it is asked for; there is no need to log it, too.
	err = informer.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {})
	if err != nil {
		return fmt.Errorf("watch %s: %w", w.name, err)
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(now any) { w.changed(nil, now) },
		UpdateFunc: w.changed,
		DeleteFunc: func(old any) {
			if gone, ok := old.(cache.DeletedFinalStateUnknown); ok {
				old = gone.Obj
			}
			w.changed(old, nil)
		},
	}); err != nil {
		return fmt.Errorf("watch %s: %w", w.name, err)
	}
	w.informer = informer
	go informer.RunWithContext(ctx)
	go func() {
		if cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			w.state()
		}
	}()
	return nil
}

// observation is how well a kind is observed.
type observation int

const (
	// observed means that the store is what the API server has.
	observed observation = iota
	// reading means that it is being read for the first time.
	reading
	// refused means that it may not be read, or cannot be.
	refused
)

// ready answers whether the store can be judged by, and else why not.
func (w *watcher) ready() (observation, string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	synced := w.informer != nil && w.informer.HasSynced()
	switch {
	case apierrors.IsForbidden(w.err), apierrors.IsUnauthorized(w.err):
		return refused, w.name + " may not be listed and watched"
	case synced:
		// Other errors pass: what is in the store was true a moment ago.
		return observed, ""
	case w.cancel != nil && time.Since(w.since) < patience:
		return reading, ""
	case w.err != nil:
		return refused, w.name + " cannot be read"
	}
	return refused, w.name + " are not read yet"
}

// find returns the objects under an index's value. They are shared: nobody may
// change them.
func (w *watcher) find(index, value string) []any {
	w.mu.Lock()
	informer := w.informer
	w.mu.Unlock()
	if informer == nil {
		return nil
	}
	// The one error is an index that does not exist, which every test would show.
	found, _ := informer.GetIndexer().ByIndex(index, value)
	return found
}

// all returns every object; see find.
func (w *watcher) all() []any {
	w.mu.Lock()
	informer := w.informer
	w.mu.Unlock()
	if informer == nil {
		return nil
	}
	return informer.GetStore().List()
}

// get returns the object of a key, namespace/name or name; nil when there is none.
func (w *watcher) get(key string) any {
	w.mu.Lock()
	informer := w.informer
	w.mu.Unlock()
	if informer == nil {
		return nil
	}
	object, _, _ := informer.GetStore().GetByKey(key)
	return object
}

// note remembers how the last request ended, and tells when that makes a difference.
func (w *watcher) note(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	w.mu.Lock()
	before := apierrors.IsForbidden(w.err) || apierrors.IsUnauthorized(w.err)
	w.err = err
	after := apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err)
	w.mu.Unlock()
	if before != after {
		w.state()
	}
}

// noting passes on every request and notes how it ended.
type noting struct {
	cache.ListerWatcherWithContext
	to *watcher
}

// List implements cache.Lister.
func (n noting) List(options metav1.ListOptions) (runtime.Object, error) {
	//nolint:forbidigo // The interface has no context; informers use ListWithContext.
	return n.ListWithContext(context.Background(), options)
}

// Watch implements cache.Watcher.
func (n noting) Watch(options metav1.ListOptions) (watch.Interface, error) {
	//nolint:forbidigo // The interface has no context; informers use WatchWithContext.
	return n.WatchWithContext(context.Background(), options)
}

// ListWithContext implements cache.ListerWithContext.
func (n noting) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	list, err := n.ListerWatcherWithContext.ListWithContext(ctx, options)
	n.to.note(ctx, err)
	return list, err
}

// WatchWithContext implements cache.WatcherWithContext.
func (n noting) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	w, err := n.ListerWatcherWithContext.WatchWithContext(ctx, options)
	n.to.note(ctx, err)
	return w, err
}
