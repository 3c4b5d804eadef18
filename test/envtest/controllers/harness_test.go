// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers"
	"github.com/memkeep/memkeep/controllers/fleetclient"
	"github.com/memkeep/memkeep/controllers/peers"
	"github.com/memkeep/memkeep/controllers/proof"
	"github.com/memkeep/memkeep/controllers/resources"
)

const (
	image     = "memkeep.io/cache-server:v0.1.0-000000000001"
	nextImage = "memkeep.io/cache-server:v0.2.0-000000000002"
	// soon bounds everything that has to happen, on a busy machine, too.
	soon = 90 * time.Second
	// quiet is how long nothing may happen.
	quiet = 3 * time.Second
)

// stage is a namespace under the restricted Pod Security Standard with a
// played kubelet, and the operator when it was started.
type stage struct {
	t         *testing.T
	namespace string
	wire      *wire
	kubelet   *kubelet
	// phone has fleets proven, by proof; nil for no proofs.
	phone proof.Phone
	// caches are reached as members are; nil for nobody.
	caches peers.Phone
	proof  *proof.Runner
	stop   func()
	// outsiders has the probers of that namespace take part; empty for none.
	outsiders string
	links     *fleetclient.Pool
	// control has the operator keep a CA, in the stage's namespace, and dial pods.
	control bool
}

func newStage(t *testing.T) *stage {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "caches-",
		Labels: map[string]string{
			"pod-security.kubernetes.io/enforce": "restricted",
		},
	}}
	if err := kube.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, namespace: ns.Name, wire: &wire{}, stop: func() {}}
	s.kubelet = startKubelet(t, ns.Name)
	return s
}

// operate starts the operator for the stage's namespace; it ends with the test
// or by s.stop.
func (s *stage) operate(settings resources.Settings) {
	s.t.Helper()
	cfg := rest.CopyConfig(config)
	cfg.WrapTransport = func(next http.RoundTripper) http.RoundTripper { return trip{s.wire, next} }
	options := controllers.Options([]string{s.namespace})
	controllers.WatchOutsiders(&options, s.outsiders)
	options.Metrics = metricsserver.Options{BindAddress: "0"}
	mgr, err := ctrl.NewManager(cfg, options)
	if err != nil {
		s.t.Fatal(err)
	}
	r := controllers.NewReconciler(mgr, settings, []string{"memkeep-system", "memkeep-system-outsider"})
	r.SkipNameValidation = true
	if s.control {
		if r.Control, err = controllers.NewControl(mgr, s.namespace, ""); err != nil {
			s.t.Fatal(err)
		}
		s.links = r.Control.Pool
	}
	if s.phone != nil {
		s.proof = r.Prove(s.phone)
		if err := mgr.Add(s.proof); err != nil {
			s.t.Fatal(err)
		}
	}
	if s.outsiders != "" {
		if err := r.Cast(s.t.Context(), mgr, s.outsiders); err != nil {
			s.t.Fatal(err)
		}
	}
	if s.caches != nil {
		keeper, err := r.Listen(mgr, s.caches)
		if err != nil {
			s.t.Fatal(err)
		}
		if err := mgr.Add(keeper); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := r.SetupWithManager(mgr); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	stopped := false
	s.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("manager: %v", err)
		}
	}
	s.t.Cleanup(func() { s.stop() })
}

// standard starts the operator with the settings that most tests use.
func (s *stage) standard() {
	s.t.Helper()
	s.operate(resources.Settings{CacheImage: image})
}

// fleet returns a Memcache of the stage.
func (s *stage) fleet(name string, replicas int32, change ...func(*v1alpha1.Memcache)) *v1alpha1.Memcache {
	m := &v1alpha1.Memcache{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.namespace},
		Spec: v1alpha1.MemcacheSpec{
			Replicas: new(replicas),
			Memory:   resource.MustParse("64Mi"),
			Access:   v1alpha1.AccessSpec{Clients: []v1alpha1.Peer{client1(s.namespace, name)}},
		},
	}
	for _, c := range change {
		c(m)
	}
	return m
}

// client1 is a client by the fleet's own label.
func client1(namespace, name string) v1alpha1.Peer {
	return v1alpha1.Peer{Name: "web", NamespaceSelector: v1alpha1.LabelSelector{
		MatchLabels: map[string]v1alpha1.LabelValue{v1alpha1.ClientLabel(namespace, name): "true"},
	}}
}

func (s *stage) create(objects ...client.Object) {
	s.t.Helper()
	for _, o := range objects {
		if err := kube.Create(s.t.Context(), o); err != nil {
			s.t.Fatal(err)
		}
	}
}

// get reads an object of the stage and answers whether it is there.
func (s *stage) get(o client.Object, name string) bool {
	s.t.Helper()
	err := kube.Get(s.t.Context(), types.NamespacedName{Namespace: s.namespace, Name: name}, o)
	if err != nil && !apierrors.IsNotFound(err) {
		s.t.Fatal(err)
	}
	return err == nil
}

func (s *stage) memcache(name string) *v1alpha1.Memcache {
	s.t.Helper()
	m := &v1alpha1.Memcache{}
	if !s.get(m, name) {
		s.t.Fatalf("Memcache %s is not there", name)
	}
	return m
}

// change edits a Memcache as a user would.
func (s *stage) change(name string, edit func(*v1alpha1.Memcache)) {
	s.t.Helper()
	m := s.memcache(name)
	before := m.DeepCopy()
	edit(m)
	if err := kube.Patch(s.t.Context(), m, client.MergeFrom(before)); err != nil {
		s.t.Fatal(err)
	}
}

// edit changes a child as a user would with `kubectl edit`: the whole object is
// written back, and read again where a controller wrote it in between. The
// object holds what was written.
func (s *stage) edit(o client.Object, name string, change func()) {
	s.t.Helper()
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if !s.get(o, name) {
			return fmt.Errorf("%T %s is not there", o, name)
		}
		change()
		return kube.Update(s.t.Context(), o, client.FieldOwner("kubectl-edit"))
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// pods returns the stage's pods by name.
func (s *stage) pods() []corev1.Pod {
	s.t.Helper()
	list := &corev1.PodList{}
	if err := kube.List(s.t.Context(), list, client.InNamespace(s.namespace)); err != nil {
		s.t.Fatal(err)
	}
	slices.SortFunc(list.Items, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return list.Items
}

// uids returns name and UID of each pod.
func (s *stage) uids() map[string]types.UID {
	s.t.Helper()
	out := map[string]types.UID{}
	for _, p := range s.pods() {
		out[p.Name] = p.UID
	}
	return out
}

// wait polls until why is empty, and fails with it otherwise.
func (s *stage) wait(what string, why func() string) {
	s.t.Helper()
	deadline := time.Now().Add(soon)
	last := ""
	for time.Now().Before(deadline) {
		if last = why(); last == "" {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.t.Fatalf("%s: not within %v: %s", what, soon, last)
}

// condition waits until a condition has the status and reason, with the
// generation observed.
func (s *stage) condition(name, kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
	s.t.Helper()
	var found metav1.Condition
	s.wait(fmt.Sprintf("%s=%s %s", kind, status, reason), func() string {
		m := s.memcache(name)
		c := meta.FindStatusCondition(m.Status.Conditions, kind)
		if c == nil || c.Status != status || c.Reason != reason || c.ObservedGeneration != m.Generation {
			return fmt.Sprintf("generation %d, conditions %v", m.Generation, brief(m.Status.Conditions))
		}
		found = *c
		return ""
	})
	return found
}

// ready waits until the fleet is Ready for its present generation.
func (s *stage) ready(name string) *v1alpha1.Memcache {
	s.t.Helper()
	reason := v1alpha1.ReasonMembersReady
	if *s.memcache(name).Spec.Replicas == 0 {
		reason = v1alpha1.ReasonScaledToZero
	}
	s.condition(name, v1alpha1.ConditionReady, metav1.ConditionTrue, reason)
	return s.memcache(name)
}

func brief(conditions []metav1.Condition) []string {
	var out []string
	for _, c := range conditions {
		out = append(out, fmt.Sprintf("%s=%s %s (%d): %s", c.Type, c.Status, c.Reason, c.ObservedGeneration, c.Message))
	}
	return out
}

// statefulSet returns the fleet's StatefulSet.
func (s *stage) statefulSet(name string) *appsv1.StatefulSet {
	s.t.Helper()
	set := &appsv1.StatefulSet{}
	if !s.get(set, name) {
		s.t.Fatalf("StatefulSet %s is not there", name)
	}
	return set
}
