// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controllers keeps fleets as their Memcache objects want them: get,
// gather, decide, apply, and one status write at the end.
package controllers

import (
	"context"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/recorder"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/observe"
	"github.com/memkeep/memkeep/controllers/peers"
	"github.com/memkeep/memkeep/controllers/proof"
	"github.com/memkeep/memkeep/controllers/resources"
)

// +kubebuilder:rbac:groups=memkeep.io,resources=memcaches,verbs=get;list;watch
// +kubebuilder:rbac:groups=memkeep.io,resources=memcaches/status,verbs=patch
// +kubebuilder:rbac:groups=memkeep.io,resources=memcaches/finalizers,verbs=update
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies/finalizers,verbs=update
// +kubebuilder:rbac:groups=apps,resources=statefulsets,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups="",resources=services;serviceaccounts,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;delete
// +kubebuilder:rbac:groups="",resources=events,verbs=list
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// How soon something is looked at again that no watch tells of.
const (
	// recheckRaced follows an object that somebody else changed under us.
	recheckRaced = 200 * time.Millisecond
	// recheckForeign follows a name clash: foreign objects are not watched.
	recheckForeign = 10 * time.Second
	// recheckRefused follows a refusal by quota, admission or validation.
	recheckRefused = 20 * time.Second
	// patience is how long pods may be missing before it is asked why.
	patience = 5 * time.Second
)

const maxConcurrentReconciles = 4

// Reconciler keeps Memcaches.
type Reconciler struct {
	// Client reads from the cache and writes to the API server.
	Client client.Client
	// APIReader reads from the API server: objects without our label, and events.
	APIReader client.Reader
	// Recorder tells users what happened.
	Recorder recorder.EventRecorder
	// Settings are the operator's settings for every fleet's pods.
	Settings resources.Settings
	// Namespaces are the operator's own; they are refused as peers.
	Namespaces []string
	// Observer sees what is around the fleets; SetupWithManager makes one where there is none.
	Observer *observe.Observer
	// Control is what is said over control ports; nil for nothing.
	Control *Control
	// Proof proves that policies are enforced; nil proves nothing.
	Proof *proof.Runner
	// Peers keeps the locks of members that verify their peers, and knows who is
	// connected; nil where there is no way to reach members.
	Peers *peers.Keeper
	// SkipNameValidation lets several managers run in one process.
	SkipNameValidation bool

	// verdicts has fleets reconciled when proofs know more.
	verdicts waker
	// missing remembers since when a fleet lacks pods.
	missing sync.Map
	// strangers remembers since when a fleet's Services have addresses that are not its pods'.
	strangers sync.Map
}

// SetupWithManager registers the reconciler and what it watches.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	if err := r.observe(mgr); err != nil {
		return err
	}
	// Status writes are our own: they need no pass.
	changed := predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{})
	err := ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.Memcache{}, builder.WithPredicates(changed)).
		Owns(&networkingv1.NetworkPolicy{}).
		Owns(&appsv1.StatefulSet{}).
		Owns(&corev1.Service{}).
		Owns(&corev1.ServiceAccount{}).
		Owns(&corev1.ConfigMap{}).
		Owns(&policyv1.PodDisruptionBudget{}).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(fleetOfPod)).
		WatchesRawSource(r.Observer.Source()).
		WatchesRawSource(r.verdicts.source()).
		WatchesRawSource(r.Control.source()).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: maxConcurrentReconciles,
			SkipNameValidation:      &r.SkipNameValidation,
		}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("build controller: %w", err)
	}
	return nil
}

// observe makes an observer where there is none.
func (r *Reconciler) observe(mgr ctrl.Manager) (err error) {
	if r.Observer == nil {
		r.Observer, err = observe.New(mgr, observe.Options{})
	}
	return err
}

// fleetOfPod returns the Memcache that a pod's label names.
func fleetOfPod(_ context.Context, pod client.Object) []reconcile.Request {
	name := pod.GetLabels()[v1alpha1.LabelName]
	if name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: pod.GetNamespace(), Name: name}}}
}

// Reconcile brings one fleet nearer to what its Memcache wants and says how far
// it got. The status is written once, after success and after failure.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	m := &v1alpha1.Memcache{}
	if err := r.Client.Get(ctx, req.NamespacedName, m); err != nil {
		if apierrors.IsNotFound(err) {
			r.missing.Delete(req.NamespacedName)
			r.Observer.Forget(req.NamespacedName)
			r.strangers.Delete(req.NamespacedName)
			r.Control.forget(req.NamespacedName)
			if r.Proof != nil {
				r.Proof.Forget(req.NamespacedName)
			}
			if r.Peers != nil {
				r.Peers.Forget(req.NamespacedName)
			}
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	f := &facts{}
	r.pass(ctx, m, f)
	if err := r.report(ctx, m, f); err != nil {
		return ctrl.Result{}, err
	}
	switch {
	case f.err != nil:
		return ctrl.Result{}, f.err
	case len(f.invalid) > 0:
		return ctrl.Result{}, reconcile.TerminalError(fmt.Errorf("invalid spec: %s", bounded(f.invalid)))
	}
	return ctrl.Result{RequeueAfter: f.again}, nil
}

// pass does the work of one reconciliation and leaves in f what it found.
func (r *Reconciler) pass(ctx context.Context, m *v1alpha1.Memcache, f *facts) {
	f.paused = m.Annotations[v1alpha1.AnnotationPaused] == "true"
	switch f.invalid = validate(m, r.Namespaces); {
	case !m.DeletionTimestamp.IsZero():
		f.deleting = true
	case len(f.invalid) == 0:
		r.policies(ctx, m, f)
	}
	// Without the policy nothing else is touched: no pod may start that it does
	// not hold, neither new nor in place of another.
	if f.policy != "" && !f.paused {
		r.children(ctx, m, f)
	}
	r.gather(ctx, m, f)
	r.Observer.Track(m, f.addresses())
	r.Control.keep(m, f)
	r.judge(m, f)
	r.prove(m, f)
	r.listen(m, f)
	if f.acted() {
		r.replacePod(ctx, m, f)
		r.explainMissing(ctx, m, f)
	}
	if f.err != nil {
		log.FromContext(ctx).V(1).Info("Pass ended early", "error", f.err.Error())
	}
}
