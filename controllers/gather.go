// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/access"
	"github.com/memkeep/memkeep/controllers/resources"
	"github.com/memkeep/memkeep/controllers/rollout"
)

// gather reads the Services' addresses, the StatefulSet and its pods.
func (r *Reconciler) gather(ctx context.Context, m *v1alpha1.Memcache, f *facts) {
	r.gatherServices(ctx, m, f)
	set := &appsv1.StatefulSet{}
	if err := r.Client.Get(ctx, client.ObjectKeyFromObject(m), set); err != nil {
		if !apierrors.IsNotFound(err) {
			f.failed(fmt.Errorf("get StatefulSet %s: %w", m.Name, err))
		}
		return
	}
	if !metav1.IsControlledBy(set, m) {
		return
	}
	f.statefulSet = set
	list := &corev1.PodList{}
	err := r.Client.List(ctx, list, client.InNamespace(m.Namespace), client.MatchingLabels(resources.SelectorLabels(m)))
	if err != nil {
		f.failed(fmt.Errorf("list pods of %s: %w", m.Name, err))
		return
	}
	f.pods = slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return !metav1.IsControlledBy(&p, set) })
	slices.SortFunc(f.pods, func(a, b corev1.Pod) int { return cmp.Compare(ordinal(&a), ordinal(&b)) })
}

func (r *Reconciler) gatherServices(ctx context.Context, m *v1alpha1.Memcache, f *facts) {
	for _, name := range []string{m.Name, resources.ReadyServiceName(m)} {
		s := &corev1.Service{}
		err := r.Client.Get(ctx, client.ObjectKey{Namespace: m.Namespace, Name: name}, s)
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			f.failed(fmt.Errorf("get Service %s: %w", name, err))
		case metav1.IsControlledBy(s, m):
			for _, ip := range s.Spec.ClusterIPs {
				if ip != corev1.ClusterIPNone {
					f.clusterIPs = append(f.clusterIPs, access.Address(ip))
				}
			}
		}
	}
}

// replacePod deletes the next outdated pod, if one may go.
func (r *Reconciler) replacePod(ctx context.Context, m *v1alpha1.Memcache, f *facts) {
	if !f.observed() {
		return
	}
	f.decision = rollout.Decide(fleetOf(m, f))
	next := f.decision.Replace
	if next == nil {
		return
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: next.Name, Namespace: m.Namespace}}
	err := r.Client.Delete(ctx, pod, client.Preconditions{UID: &next.UID})
	switch {
	case err == nil:
		f.moved = true
		f.replaced = next.Name
		podsReplaced.Inc()
		log.FromContext(ctx).Info("Replaced an outdated pod", "pod", next.Name, "revision", f.template.Revision)
	case !apierrors.IsNotFound(err):
		f.failed(fmt.Errorf("delete pod %s: %w", next.Name, err))
	}
}

func fleetOf(m *v1alpha1.Memcache, f *facts) rollout.Fleet {
	fleet := rollout.Fleet{Wanted: resources.Replicas(m), Revision: f.statefulSet.Status.UpdateRevision}
	for i := range f.pods {
		p := &f.pods[i]
		fleet.Pods = append(fleet.Pods, rollout.Pod{
			Name: p.Name, UID: p.UID, Ordinal: ordinal(p), Revision: p.Labels[appsv1.ControllerRevisionHashLabelKey],
			Ready: isReady(p), Terminating: !p.DeletionTimestamp.IsZero(),
		})
	}
	return fleet
}

// explainMissing asks why pods do not appear: the StatefulSet controller tells
// of a refusal in events alone. They are read only once pods are missing for a
// while.
func (r *Reconciler) explainMissing(ctx context.Context, m *v1alpha1.Memcache, f *facts) {
	key := client.ObjectKeyFromObject(m)
	if !f.observed() || int32(len(f.pods)) >= resources.Replicas(m) {
		r.missing.Delete(key)
		return
	}
	since, _ := r.missing.LoadOrStore(key, time.Now())
	if left := patience - time.Since(since.(time.Time)); left > 0 {
		f.recheck(left)
		return
	}
	f.recheck(recheckRefused)
	list := &corev1.EventList{}
	err := r.APIReader.List(ctx, list, client.InNamespace(m.Namespace), client.Limit(maxEvents),
		client.MatchingFieldsSelector{Selector: fields.Set{
			"involvedObject.uid": string(f.statefulSet.UID), "reason": "FailedCreate",
		}.AsSelector()})
	if err != nil {
		f.failed(fmt.Errorf("list events of StatefulSet %s: %w", m.Name, err))
		return
	}
	if f.podRefusal = latestRefusal(list.Items, time.Now()); f.podRefusal == "" {
		f.recheck(patience) // the event may be on its way
	}
}

const (
	maxEvents = 50
	// refusalAge is the longest pause between two tries of the StatefulSet controller.
	refusalAge = 20 * time.Minute
)

// latestRefusal returns the message of the newest event that is not stale.
func latestRefusal(events []corev1.Event, now time.Time) string {
	var newest time.Time
	message := ""
	for i := range events {
		e := &events[i]
		at := e.LastTimestamp.Time
		if e.EventTime.After(at) {
			at = e.EventTime.Time
		}
		if at.After(newest) && now.Sub(at) < refusalAge {
			newest, message = at, truncated(e.Message)
		}
	}
	return message
}

// ordinal returns a pod's place in its StatefulSet; -1 for a name without one.
func ordinal(p *corev1.Pod) int32 {
	i := strings.LastIndexByte(p.Name, '-')
	n, err := strconv.ParseInt(p.Name[i+1:], 10, 32)
	if err != nil {
		return -1
	}
	return int32(n)
}

// isReady tells whether a pod serves and is there to stay.
func isReady(p *corev1.Pod) bool {
	return p.DeletionTimestamp.IsZero() && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
