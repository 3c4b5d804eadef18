// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/cache-server/controlapi"
	"github.com/memkeep/memkeep/controllers/fleetclient"
	"github.com/memkeep/memkeep/controllers/pki"
	"github.com/memkeep/memkeep/controllers/resources"
)

// probersOwner is whose the outsiders are in the pool; no fleet is called so.
const probersOwner = "probers"

// Control is the operator's side of the control ports: its CA, and a connection
// to every pod.
type Control struct {
	// Pool keeps the connections.
	Pool *fleetclient.Pool

	client client.Reader
	holder *pki.Holder
	fleets waker

	mu      sync.Mutex
	members map[types.NamespacedName]*controlapi.Membership
}

// NewControl adds to the manager what keeps the CA, in this namespace, and the
// connections. outsiders is the probers' namespace; empty for none.
func NewControl(mgr ctrl.Manager, namespace, outsiders string) (*Control, error) {
	holder := pki.NewHolder(time.Now)
	c := &Control{
		client: mgr.GetClient(), holder: holder, members: map[types.NamespacedName]*controlapi.Membership{},
		Pool: fleetclient.NewPool(fleetclient.Config{
			Operator: holder.Operator(), Sign: holder.Sign, RenewAt: pki.RenewAt, Logger: ctrl.Log.WithName("control"),
		}),
	}
	c.Pool.Hear(c.heard)
	keeper := &authority{
		client: mgr.GetClient(), reader: mgr.GetAPIReader(), namespace: namespace, outsiders: outsiders,
		holder: holder, changed: c.wakeAll, now: time.Now,
	}
	if err := mgr.Add(keeper); err != nil {
		return nil, fmt.Errorf("add the keeper of the CA: %w", err)
	}
	if err := mgr.Add(c.Pool); err != nil {
		return nil, fmt.Errorf("add the control connections: %w", err)
	}
	return c, nil
}

// registerMetrics adds the connections' metrics to the manager's.
func (c *Control) registerMetrics() error {
	if err := metrics.Registry.Register(c.Pool); err != nil {
		return fmt.Errorf("register metrics of control connections: %w", err)
	}
	return nil
}

// source has fleets reconciled when their pods have something to say.
func (c *Control) source() source.Source {
	if c == nil {
		return new(waker).source()
	}
	return c.fleets.source()
}

// bundle returns what pods are to trust; empty while that is not known.
func (c *Control) bundle() string {
	if c == nil {
		return ""
	}
	return c.holder.Bundle()
}

// wakeAll has every fleet reconciled.
func (c *Control) wakeAll(ctx context.Context) {
	list := &v1alpha1.MemcacheList{}
	if err := c.client.List(ctx, list); err != nil {
		ctrl.Log.WithName("control").Error(err, "Fleets are told of the new CA when they are looked at next")
		return
	}
	for i := range list.Items {
		c.fleets.wake(client.ObjectKeyFromObject(&list.Items[i]))
	}
}

// heard has a fleet reconciled when one of its pods has come or gone, or holds
// somebody who is waiting.
func (c *Control) heard(change fleetclient.Change) {
	namespace, name, ok := strings.Cut(change.Owner, "/")
	if !ok {
		return
	}
	before, after := change.Before, change.After
	if before == nil || after == nil || before.Boot != after.Boot || before.Draining != after.Draining ||
		!slices.Equal(before.Peers.Held, after.Peers.Held) {
		c.fleets.wake(types.NamespacedName{Namespace: namespace, Name: name})
	}
}

// forget drops a fleet that is no more.
func (c *Control) forget(key types.NamespacedName) {
	if c == nil {
		return
	}
	c.Pool.Keep(key.String(), nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.members, key)
}

// keep has the fleet's pods connected to, and tells each who the members are.
func (c *Control) keep(m *v1alpha1.Memcache, f *facts) {
	if c == nil {
		return
	}
	key := client.ObjectKeyFromObject(m)
	targets := targetsOf(f.pods)
	c.Pool.Keep(key.String(), targets)
	if f.deleting {
		return
	}
	members := c.membership(key, nodesOf(m, f.pods), targets)
	for i := range targets {
		c.Pool.Want(targets[i].UID, controlapi.Desired{Membership: members})
	}
}

// Engage has outsiders connected to.
func (c *Control) Engage(outsiders []corev1.Pod) {
	c.Pool.Keep(probersOwner, targetsOf(outsiders))
}

// targetsOf returns the pods that have a control port.
func targetsOf(pods []corev1.Pod) []fleetclient.Target {
	var out []fleetclient.Target
	for i := range pods {
		p := &pods[i]
		if !hasControlPort(p) || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		t := fleetclient.Target{UID: string(p.UID), Name: p.Namespace + "/" + p.Name}
		for _, ip := range p.Status.PodIPs {
			t.Addresses = append(t.Addresses, ip.IP)
		}
		for j := range p.Status.ContainerStatuses {
			s := &p.Status.ContainerStatuses[j]
			t.Hint += fmt.Sprintf("%s %t ", s.ContainerID, s.Ready)
		}
		out = append(out, t)
	}
	return out
}

func hasControlPort(p *corev1.Pod) bool {
	for i := range p.Spec.Containers {
		if slices.ContainsFunc(p.Spec.Containers[i].Ports, func(port corev1.ContainerPort) bool {
			return port.ContainerPort == controlapi.Port
		}) {
			return true
		}
	}
	return false
}

// nodesOf returns the fleet's members as clients discover them: one for every
// ordinal, also while its pod is away, so that a client's ring does not move
// because one pod restarts.
func nodesOf(m *v1alpha1.Memcache, pods []corev1.Pod) []controlapi.Node {
	nodes := make([]controlapi.Node, resources.Replicas(m))
	for i := range nodes {
		nodes[i] = controlapi.Node{
			Host: fmt.Sprintf("%s-%d.%s.%s.svc", m.Name, i, m.Name, m.Namespace), Port: v1alpha1.PortCache,
		}
	}
	for i := range pods {
		if n := ordinal(&pods[i]); n >= 0 && int(n) < len(nodes) && pods[i].DeletionTimestamp.IsZero() {
			nodes[n].Address = pods[i].Status.PodIP
		}
	}
	return nodes
}

// membership gives a list of members its version: the second in which it became
// that, or more than any pod has of another.
func (c *Control) membership(
	key types.NamespacedName, nodes []controlapi.Node, pods []fleetclient.Target,
) *controlapi.Membership {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, last := uint64(time.Now().Unix()), c.members[key]
	next := &controlapi.Membership{Version: now, Nodes: nodes}
	if last != nil {
		next.Version = max(now, last.Version+1)
		if slices.Equal(last.Nodes, nodes) {
			next.Version = last.Version
		}
	}
	for i := range pods {
		if s, ok := c.Pool.Said(pods[i].UID); ok && s.MembershipVersion > next.Version {
			next.Version = s.MembershipVersion + 1
		}
	}
	c.members[key] = next
	return next
}
