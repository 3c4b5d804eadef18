// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/access"
	"github.com/memkeep/memkeep/controllers/proof"
)

// The outsiders' namespace is watched for its labels; what admits clients goes by them.
// +kubebuilder:rbac:groups="",resources=namespaces;pods,verbs=list;watch

// WatchOutsiders has a manager see the probers' namespace and the pods in it,
// whatever namespaces its Memcaches are in. It does nothing for an empty name.
func WatchOutsiders(options *ctrl.Options, namespace string) {
	if namespace == "" {
		return
	}
	objects := options.Cache.ByObject
	objects[&corev1.Namespace{}] = cache.ByObject{Field: fields.OneTermEqualSelector("metadata.name", namespace)}
	if len(options.Cache.DefaultNamespaces) == 0 {
		return
	}
	// Pods are read from two namespaces or more then, and reads that wait for our
	// own writes know one alone.
	options.Client.Cache.EnableReadYourWritesConsistency = new(false)
	for object, pods := range objects {
		if _, ok := object.(*corev1.Pod); !ok {
			continue
		}
		pods.Namespaces = map[string]cache.Config{namespace: {}}
		for n, config := range options.Cache.DefaultNamespaces {
			pods.Namespaces[n] = config
		}
		objects[object] = pods
	}
}

// The two things that the caster is asked to look at.
var (
	castRequest   = reconcile.Request{NamespacedName: types.NamespacedName{Name: "cast"}}
	agentsRequest = reconcile.Request{NamespacedName: types.NamespacedName{Name: "agents"}}
)

// caster tells the proofs who there is to dial, and when the network has
// changed. Only the leader's does.
type caster struct {
	client    client.Reader
	agents    client.Reader
	namespace string
	control   *Control // connects to outsiders; nil where tests play them
	runner    *proof.Runner
	network   network
}

// Cast has the reconciler's proofs told of the probers in a namespace, and of
// changes of the network plugin's agents. It is to be called after Prove.
func (r *Reconciler) Cast(ctx context.Context, mgr ctrl.Manager, namespace string) error {
	agents, err := newAgents(ctx, mgr)
	if err != nil {
		return err
	}
	c := &caster{client: mgr.GetClient(), agents: agents, namespace: namespace, control: r.Control, runner: r.Proof}
	probers := predicate.NewPredicateFuncs(func(o client.Object) bool {
		return o.GetNamespace() == namespace && o.GetLabels()[v1alpha1.LabelComponent] == v1alpha1.ComponentProber
	})
	own := predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetName() == namespace })
	always := func(r reconcile.Request) handler.MapFunc {
		return func(context.Context, client.Object) []reconcile.Request { return []reconcile.Request{r} }
	}
	b := ctrl.NewControllerManagedBy(mgr).Named("cast").
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(always(castRequest)), builder.WithPredicates(probers)).
		Watches(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(always(castRequest)), builder.WithPredicates(own)).
		// A standby has nobody dial.
		WithOptions(controller.Options{EnableWarmup: new(false), SkipNameValidation: &r.SkipNameValidation})
	if agents != nil {
		b = b.WatchesRawSource(source.Kind(agents, &corev1.Pod{},
			handler.TypedEnqueueRequestsFromMapFunc(func(context.Context, *corev1.Pod) []reconcile.Request {
				return []reconcile.Request{agentsRequest}
			})))
	}
	if err := b.Complete(c); err != nil {
		return fmt.Errorf("build controller of the probers: %w", err)
	}
	return nil
}

// proveBy has fleets proven by the probers of a namespace, over the control
// ports; it does nothing for an empty name.
func (r *Reconciler) proveBy(ctx context.Context, mgr ctrl.Manager, outsiders string) error {
	if outsiders == "" {
		return nil
	}
	if err := mgr.Add(r.Prove(r.Control.Pool.Phone())); err != nil {
		return fmt.Errorf("add the proofs of enforcement: %w", err)
	}
	return r.Cast(ctx, mgr, outsiders)
}

// Reconcile looks at the probers, or at the network's agents.
func (c *caster) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if req == agentsRequest {
		return c.lookAtNetwork(ctx)
	}
	pods := &corev1.PodList{}
	err := c.client.List(ctx, pods, client.InNamespace(c.namespace), client.MatchingLabels{
		v1alpha1.LabelComponent: v1alpha1.ComponentProber,
	})
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("list probers: %w", err)
	}
	namespace := &corev1.Namespace{}
	err = c.client.Get(ctx, client.ObjectKey{Name: c.namespace}, namespace)
	if err != nil && !apierrors.IsNotFound(err) {
		return ctrl.Result{}, fmt.Errorf("get the probers' namespace: %w", err)
	}
	outsiders, decoys := probersOf(pods.Items)
	if c.control != nil {
		c.control.Engage(outsiders)
	}
	c.runner.SetCast(access.Cast{Outsiders: players(outsiders), Decoys: players(decoys)},
		err == nil, namespace.Labels, labelsOf(outsiders))
	return ctrl.Result{}, nil
}

// probersOf returns the pods that can play a part, by name. A pod on its node's
// network is none: to the policies it is the node.
func probersOf(pods []corev1.Pod) (outsiders, decoys []corev1.Pod) {
	pods = slices.Clone(pods)
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	for i := range pods {
		p := &pods[i]
		if !isReady(p) || p.Spec.HostNetwork || len(p.Status.PodIPs) == 0 {
			continue
		}
		switch p.Labels[v1alpha1.LabelProber] {
		case v1alpha1.ProberOutsider:
			outsiders = append(outsiders, *p)
		case v1alpha1.ProberDecoy:
			decoys = append(decoys, *p)
		}
	}
	return outsiders, decoys
}

func players(pods []corev1.Pod) []access.Player {
	var out []access.Player
	for i := range pods {
		out = append(out, playerOf(&pods[i]))
	}
	return out
}

// labelsOf returns the labels that all of the pods have.
func labelsOf(pods []corev1.Pod) map[string]string {
	if len(pods) == 0 {
		return nil
	}
	out := map[string]string{}
	for k, v := range pods[0].Labels {
		if !slices.ContainsFunc(pods, func(p corev1.Pod) bool { return p.Labels[k] != v }) {
			out[k] = v
		}
	}
	return out
}

// lookAtNetwork has everything proven anew when the network's agents are others
// than before, at most once in networkPause: an upgrade replaces them one by one.
func (c *caster) lookAtNetwork(ctx context.Context) (ctrl.Result, error) {
	pods := &corev1.PodList{}
	if err := c.agents.List(ctx, pods); err != nil {
		return ctrl.Result{}, fmt.Errorf("list the network's agents: %w", err)
	}
	changed, later := c.network.look(pods.Items, time.Now())
	if changed {
		c.runner.Everything()
	}
	return ctrl.Result{RequeueAfter: later}, nil
}
