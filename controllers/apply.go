// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/types"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applynetworkingv1 "k8s.io/client-go/applyconfigurations/networking/v1"
	applypolicyv1 "k8s.io/client-go/applyconfigurations/policy/v1"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/access"
	"github.com/memkeep/memkeep/controllers/resources"
)

// ensure brings one child to what it should be. It answers whether the child is
// ours and as it should be; else f says why not.
func (r *Reconciler) ensure(ctx context.Context, m *v1alpha1.Memcache, f *facts, c *child, name string) bool {
	found, err := r.find(ctx, m, c, name)
	if err != nil {
		f.failed(err)
		return false
	}
	_, ok := r.settle(ctx, f, c, found, name)
	return ok
}

// settle is ensure for a child that was looked up; it also tells whether it was
// written.
func (r *Reconciler) settle(
	ctx context.Context, f *facts, c *child, found presence, name string,
) (written, ok bool) {
	switch found {
	case foreign:
		f.clashes = append(f.clashes, c.kind+" "+name)
		f.recheck(recheckForeign)
		return false, false
	case leaving:
		f.waiting = append(f.waiting, fmt.Sprintf("%s %s is being deleted", c.kind, name))
		f.recheck(recheckForeign)
		return false, false
	case absent, ours:
	}
	written, err := r.put(ctx, found, c)
	if err != nil {
		f.failed(err)
		return written, false
	}
	return written, true
}

// policies applies the NetworkPolicies, the one that admits nobody first. Their
// UIDs stay empty unless they are ours and as rendered.
func (r *Reconciler) policies(ctx context.Context, m *v1alpha1.Memcache, f *facts) {
	f.deny = r.policy(ctx, m, f, resources.DenyPolicyName(m),
		func() *applynetworkingv1.NetworkPolicyApplyConfiguration { return access.DenyPolicy(m) }, nil)
	if f.deny == "" {
		return
	}
	f.policy = r.policy(ctx, m, f, m.Name,
		func() *applynetworkingv1.NetworkPolicyApplyConfiguration {
			return access.Policy(m, f.deny, r.operatorNamespace())
		},
		func(was, now *networkingv1.NetworkPolicy) { r.beforeChange(ctx, m, f, was, now) })
}

// policy applies one NetworkPolicy and returns its UID; empty when it is not
// ours or not as rendered. before is told of the one in force and the one that
// is to be.
func (r *Reconciler) policy(
	ctx context.Context, m *v1alpha1.Memcache, f *facts, name string,
	build func() *applynetworkingv1.NetworkPolicyApplyConfiguration, before func(was, now *networkingv1.NetworkPolicy),
) types.UID {
	c := childOf("NetworkPolicy", &networkingv1.NetworkPolicy{}, build, applynetworkingv1.ExtractNetworkPolicy)
	found, err := r.find(ctx, m, c, name)
	if err != nil {
		f.failed(err)
		return ""
	}
	if found == ours && before != nil {
		wanted, err := c.create()
		if err != nil {
			f.failed(err)
			return ""
		}
		before(c.object.(*networkingv1.NetworkPolicy), wanted.(*networkingv1.NetworkPolicy))
	}
	if _, ok := r.settle(ctx, f, c, found, name); !ok {
		return ""
	}
	return c.object.GetUID()
}

// children applies everything but the policy. A Service or budget that cannot
// be ours does not stop the others; a ServiceAccount that is not ours stops the
// pods, which would run under it.
func (r *Reconciler) children(ctx context.Context, m *v1alpha1.Memcache, f *facts) {
	service := func(build func(*v1alpha1.Memcache) *applycorev1.ServiceApplyConfiguration) *child {
		return childOf("Service", &corev1.Service{},
			func() *applycorev1.ServiceApplyConfiguration { return build(m) }, applycorev1.ExtractService)
	}
	account := r.ensure(ctx, m, f, childOf("ServiceAccount", &corev1.ServiceAccount{},
		func() *applycorev1.ServiceAccountApplyConfiguration { return resources.ServiceAccount(m) },
		applycorev1.ExtractServiceAccount), m.Name)
	// Whoever could plant the CA would be the operator to the pods that start with it.
	account = r.controlCA(ctx, m, f) && account
	ring := r.ensure(ctx, m, f, service(resources.RingService), m.Name)
	ready := r.ensure(ctx, m, f, service(resources.ReadyService), resources.ReadyServiceName(m))
	budget := r.ensure(ctx, m, f, childOf("PodDisruptionBudget", &policyv1.PodDisruptionBudget{},
		func() *applypolicyv1.PodDisruptionBudgetApplyConfiguration { return resources.PodDisruptionBudget(m) },
		applypolicyv1.ExtractPodDisruptionBudget), m.Name)
	f.services = ring && ready
	if account && r.pods(ctx, m, f) {
		f.applied = f.services && budget
	}
}

// controlCA applies the CA by which pods know the operator, once that is known.
// Pods start without it as well, and open their control port when it is there.
func (r *Reconciler) controlCA(ctx context.Context, m *v1alpha1.Memcache, f *facts) bool {
	bundle := r.Control.bundle()
	if bundle == "" {
		return true
	}
	return r.ensure(ctx, m, f, childOf("ConfigMap", &corev1.ConfigMap{},
		func() *applycorev1.ConfigMapApplyConfiguration { return resources.ControlCA(m, bundle) },
		applycorev1.ExtractConfigMap), resources.ControlCAName(m))
}

// operatorNamespace returns the namespace of the operator's pods; empty where
// it runs outside.
func (r *Reconciler) operatorNamespace() string {
	if len(r.Namespaces) == 0 {
		return ""
	}
	return r.Namespaces[0]
}

// pods applies the StatefulSet with the template that is to run.
func (r *Reconciler) pods(ctx context.Context, m *v1alpha1.Memcache, f *facts) bool {
	fresh, err := resources.RenderTemplate(m, r.Settings)
	if err != nil {
		f.failed(err)
		return false
	}
	object := &appsv1.StatefulSet{}
	c := childOf("StatefulSet", object,
		func() *applyappsv1.StatefulSetApplyConfiguration {
			return resources.StatefulSet(m, f.template, f.policy, f.deny)
		}, applyappsv1.ExtractStatefulSet)
	found, err := r.find(ctx, m, c, m.Name)
	if err != nil {
		f.failed(err)
		return false
	}
	f.template, f.outdatedTemplate = resources.ChooseTemplate(fresh, object.Annotations)
	written, ok := r.settle(ctx, f, c, found, m.Name)
	f.moved = written
	return ok
}
