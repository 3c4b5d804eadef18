// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/access"
	"github.com/memkeep/memkeep/controllers/fleetclient"
	"github.com/memkeep/memkeep/controllers/peers"
	"github.com/memkeep/memkeep/controllers/resources"
)

const (
	// audienceTime bounds how long a change of access waits for who is connected.
	audienceTime = 3 * time.Second
	// maxAsked bounds how many addresses the API server is asked for then.
	maxAsked = 50
)

// audience is who is connected to a fleet and is no client.
type audience struct {
	report peers.Report
	// changed tells that this pass changes who may connect to the cache port, and
	// cut then tells whom that cuts off.
	changed bool
	cut     cutOff
}

// cutOff are the connected addresses that a change of access cuts off.
type cutOff struct {
	count  int
	oldest time.Time
	// more tells that there were too many to look at all of them.
	more bool
}

// Listen returns who keeps the locks of members that verify their peers, and
// knows who is connected. It is to be called before SetupWithManager, and the
// keeper to be run by the manager.
func (r *Reconciler) Listen(mgr ctrl.Manager, phone peers.Phone) (*peers.Keeper, error) {
	if err := r.observe(mgr); err != nil {
		return nil, err
	}
	r.Peers = peers.New(phone, r.Observer, ctrl.Log.WithName("peers"), r.verdicts.wake)
	r.Observer.OnClients(r.Peers.ClientsChanged)
	return r.Peers, nil
}

// listenTo has the fleets listened to through the connections of a pool.
func (r *Reconciler) listenTo(mgr ctrl.Manager, pool *fleetclient.Pool) error {
	keeper, err := r.Listen(mgr, pool.Phone())
	if err != nil {
		return err
	}
	pool.Hear(func(c fleetclient.Change) {
		if c.After != nil {
			keeper.Saw(types.UID(c.UID), c.After)
		}
	})
	if err := mgr.Add(keeper); err != nil {
		return fmt.Errorf("add the keeper of peers: %w", err)
	}
	return nil
}

// listen tells who keeps the members' locks how the fleet is now, and takes what
// is known of who is connected.
func (r *Reconciler) listen(m *v1alpha1.Memcache, f *facts) {
	if r.Peers == nil {
		return
	}
	key := client.ObjectKeyFromObject(m)
	r.Peers.Observe(peers.Fleet{
		Key: key, UID: m.UID, Verified: resources.Verified(m),
		Audit:  m.Spec.Access.EffectiveMode() == v1alpha1.AccessAudit,
		Frozen: len(f.invalid) > 0, Members: running(f.pods),
	})
	f.audience.report = r.Peers.Report(key)
}

// running are the pods whose cache may have clients.
func running(pods []corev1.Pod) []types.UID {
	var out []types.UID
	for i := range pods {
		if p := &pods[i]; p.Status.PodIP != "" && p.Status.Phase == corev1.PodRunning {
			out = append(out, p.UID)
		}
	}
	return out
}

// beforeChange looks, before a policy takes the place of another, at whom that
// cuts off. It holds the change up for a moment at most.
func (r *Reconciler) beforeChange(
	ctx context.Context, m *v1alpha1.Memcache, f *facts, was, now *networkingv1.NetworkPolicy,
) {
	if r.Peers == nil || equality.Semantic.DeepEqual(was.Spec.Ingress, now.Spec.Ingress) {
		return
	}
	f.audience.changed = true
	ctx, cancel := context.WithTimeout(ctx, audienceTime)
	defer cancel()
	list := &corev1.PodList{}
	err := r.Client.List(ctx, list, client.InNamespace(m.Namespace), client.MatchingLabels(resources.SelectorLabels(m)))
	var connected peers.Connected
	if err == nil {
		connected, err = r.Peers.Connected(ctx, running(list.Items))
	}
	if err != nil {
		// Those who answered count.
		log.FromContext(ctx).Info("Access changes, and not all is known of who is connected", "error", err.Error())
	}
	f.audience.cut = r.cutOff(ctx, connected, was, now)
}

// cutOff counts the connected addresses that one policy admits and another does not.
func (r *Reconciler) cutOff(
	ctx context.Context, connected peers.Connected, was, now *networkingv1.NetworkPolicy,
) cutOff {
	var out cutOff
	asked := 0
	for address, since := range connected {
		pods, known := r.Observer.At(address)
		if !known {
			if asked++; asked > maxAsked {
				out.more = true
				break
			}
			var err error
			if pods, err = r.Observer.Live(ctx, address); err != nil {
				out.more = true
				continue
			}
		}
		if r.admitted(was, pods) && !r.admitted(now, pods) {
			out.count++
			if out.oldest.IsZero() || since.Before(out.oldest) {
				out.oldest = since
			}
		}
	}
	return out
}

// admitted tells whether a policy admits whoever has an address that these pods
// have; what no pod has is admitted where everyone is.
func (r *Reconciler) admitted(p *networkingv1.NetworkPolicy, pods []access.Pod) bool {
	if access.PolicyAdmits(p, v1alpha1.PortCache, nil, nil) {
		return true
	}
	return access.OwnedBy(pods, func(pod *access.Pod) bool {
		labels := pod.Labels
		if labels == nil {
			labels = map[string]string{}
		}
		return access.PolicyAdmits(p, v1alpha1.PortCache, r.Observer.NamespaceLabels(pod.Namespace), labels)
	})
}

// audienceOf fills in what is known of who is connected. In mode Audit that is
// as of now; in mode Enforce it is what the last change of access did.
func audienceOf(m *v1alpha1.Memcache, f *facts, s *v1alpha1.MemcacheStatus, now time.Time) {
	if len(f.invalid) > 0 || f.policy == "" {
		return
	}
	if s.Access == nil {
		s.Access = &v1alpha1.AccessStatus{}
	}
	a, mode := s.Access, m.Spec.Access.EffectiveMode()
	audit := mode == v1alpha1.AccessAudit
	count := -1
	switch {
	case audit && f.audience.report.Known:
		count = f.audience.report.WouldBeCutOff
	case !audit && f.audience.changed:
		count = f.audience.cut.count
	case a.Mode != "" && a.Mode != mode:
		a.WouldBeCutOff, a.WouldBeCutOffSince = nil, nil // it meant something else
	}
	a.Mode = mode
	switch {
	case count < 0:
	case count == 0 && audit:
		a.WouldBeCutOff, a.WouldBeCutOffSince = new(int32(0)), nil
	case count == 0:
		a.WouldBeCutOff, a.WouldBeCutOffSince = nil, nil
	default:
		if !audit || a.WouldBeCutOffSince == nil {
			since := metav1.NewTime(now).Rfc3339Copy()
			a.WouldBeCutOffSince = &since
		}
		a.WouldBeCutOff = new(int32(count))
	}
}

// announceAudience tells of clients that are cut off, or would be.
func (r *Reconciler) announceAudience(m *v1alpha1.Memcache, before, after *v1alpha1.AccessStatus, f *facts) {
	if cut := f.audience.cut; f.policy != "" && cut.count > 0 {
		atLeast := ""
		if cut.more {
			atLeast = "at least "
		}
		r.Recorder.Eventf(m, nil, corev1.EventTypeWarning, v1alpha1.ReasonClientsCutOff, actionReconcile,
			"a change of spec.access cuts off connected clients: %s%s by address, the oldest connected since %s",
			atLeast, counted(cut.count, "client"), cut.oldest.UTC().Format(time.RFC3339))
	}
	if after == nil || after.Mode != v1alpha1.AccessAudit || zeroOrNil(after.WouldBeCutOff) {
		return
	}
	if before == nil || before.Mode != v1alpha1.AccessAudit || zeroOrNil(before.WouldBeCutOff) {
		r.Recorder.Eventf(m, nil, corev1.EventTypeNormal, v1alpha1.ReasonWouldBeCutOff, actionReconcile,
			"connected without being a client of the spec: %s; mode Enforce would cut off whoever it is",
			counted(int(*after.WouldBeCutOff), "peer"))
	}
}

func zeroOrNil(n *int32) bool { return n == nil || *n == 0 }
