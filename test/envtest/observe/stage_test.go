// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers"
	"github.com/memkeep/memkeep/controllers/access"
	"github.com/memkeep/memkeep/controllers/observe"
)

const (
	soon = 60 * time.Second
	// quiet is how long nothing may happen; longer than changes are gathered.
	quiet = time.Second
)

// stage is an Observer that runs, with a queue and a wire that record.
type stage struct {
	*observe.Observer
	t *testing.T
	// namespace is the fleets'.
	namespace string
	wire      *wire
	queue     workqueue.TypedRateLimitingInterface[reconcile.Request]
	mu        sync.Mutex
	told      []string
}

// wire records which resources are asked for.
type wire struct {
	next http.RoundTripper
	mu   sync.Mutex
	seen []string
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.seen = append(w.seen, req.URL.Path)
	w.mu.Unlock()
	return w.next.RoundTrip(req)
}

// taken returns the paths since the last call, each once.
func (w *wire) taken() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.seen
	w.seen = nil
	slices.Sort(out)
	return slices.Compact(out)
}

func newStage(t *testing.T, change ...func(*rest.Config)) *stage {
	t.Helper()
	s := &stage{t: t, wire: &wire{}, namespace: space(t, "caches-", nil)}
	cfg := rest.CopyConfig(config)
	for _, c := range change {
		c(cfg)
	}
	cfg.WrapTransport = func(next http.RoundTripper) http.RoundTripper {
		s.wire.next = next
		return s.wire
	}
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: controllers.Scheme(), Metrics: metricsserver.Options{BindAddress: "0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.Observer, err = observe.New(mgr, observe.Options{Rediscover: time.Second}); err != nil {
		t.Fatal(err)
	}
	s.OnClients(func(fleet types.NamespacedName) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.told = append(s.told, fleet.Name)
	})
	s.queue = workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	if err := s.Source().Start(t.Context(), s.queue); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("manager: %v", err)
		}
		s.queue.ShutDown()
	})
	return s
}

// space makes a namespace and returns its name.
func space(t *testing.T, prefix string, labels map[string]string) string {
	t.Helper()
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: prefix, Labels: labels}}
	create(t, n)
	return n.Name
}

// fleet is a Memcache that was never written: the Observer is told of it.
func (s *stage) fleet(name string, peers ...v1alpha1.Peer) *v1alpha1.Memcache {
	return &v1alpha1.Memcache{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.namespace, UID: types.UID(name), Generation: 1},
		Spec:       v1alpha1.MemcacheSpec{Access: v1alpha1.AccessSpec{Clients: peers}},
	}
}

func verified(m *v1alpha1.Memcache) *v1alpha1.Memcache {
	m.Spec.Access.Peers = v1alpha1.PeersVerified
	return m
}

func (s *stage) key(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: s.namespace, Name: name}
}

// peer picks by labels written as key=value; pod may be empty.
func peer(namespace, pod string) v1alpha1.Peer {
	selector := func(s string) v1alpha1.LabelSelector {
		key, value, _ := strings.Cut(s, "=")
		return v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{key: v1alpha1.LabelValue(value)}}
	}
	p := v1alpha1.Peer{Name: "web", NamespaceSelector: selector(namespace)}
	if pod != "" {
		p.PodSelector = new(selector(pod))
	}
	return p
}

func (s *stage) wait(what string, why func() string) {
	s.t.Helper()
	deadline := time.Now().Add(soon)
	last := ""
	for time.Now().Before(deadline) {
		if last = why(); last == "" {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.t.Fatalf("%s: not within %v: %s", what, soon, last)
}

// around waits until there is an answer, and for it to be as why wants it.
func (s *stage) around(name string, why func(*access.World) string) *access.World {
	s.t.Helper()
	var world *access.World
	s.wait("what is around "+name, func() string {
		w, ok := s.Around(s.key(name))
		if !ok {
			return "it is being read"
		}
		world = w
		return why(w)
	})
	return world
}

func anything(*access.World) string { return "" }

// concerned returns which fleets are enqueued, and which clients' change was
// told, within the time in which changes are gathered.
func (s *stage) concerned() (fleets, told []string) {
	s.t.Helper()
	time.Sleep(quiet)
	for s.queue.Len() > 0 {
		request, _ := s.queue.Get()
		s.queue.Done(request)
		fleets = append(fleets, request.Name)
	}
	slices.Sort(fleets)
	s.mu.Lock()
	defer s.mu.Unlock()
	told, s.told = s.told, nil
	slices.Sort(told)
	return fleets, slices.Compact(told)
}
