// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/memkeep/memkeep/api/v1alpha1"
	applyv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1/applyconfiguration/api/v1alpha1"
)

// report writes the status, where it changed, and then tells of what changed.
func (r *Reconciler) report(ctx context.Context, m *v1alpha1.Memcache, f *facts) error {
	before, after := m.Status, statusOf(m, f)
	audienceOf(m, f, &after, time.Now())
	if !equality.Semantic.DeepEqual(before, after) {
		err := r.writeStatus(ctx, m, after)
		switch {
		case apierrors.IsNotFound(err), apierrors.IsConflict(err):
			// The object is gone, or another of its name is there now.
			return nil
		case err != nil:
			return err
		}
	}
	r.announce(m, before.Conditions, after.Conditions, f)
	r.announceAudience(m, before.Access, after.Access, f)
	r.announceWidened(ctx, m, &before, &after, f)
	return nil
}

// writeStatus applies the status to the object with m's UID. The status has no
// other writer, so what the configuration leaves out is removed.
func (r *Reconciler) writeStatus(ctx context.Context, m *v1alpha1.Memcache, s v1alpha1.MemcacheStatus) error {
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode status: %w", err)
	}
	status := applyv1alpha1.MemcacheStatus()
	if err := json.Unmarshal(data, status); err != nil {
		return fmt.Errorf("decode status: %w", err)
	}
	object := applyv1alpha1.Memcache(m.Name, m.Namespace).WithUID(m.UID).WithStatus(status)
	if err := r.Client.Status().Apply(ctx, object, fieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("apply status: %w", err)
	}
	return nil
}

// Actions that events name.
const (
	actionReconcile = "Reconcile"
	actionReplace   = "ReplacePod"
	actionProve     = "ProveEnforcement"
	actionJudge     = "JudgeAccess"
)

// announce sends one event for each change of state.
func (r *Reconciler) announce(m *v1alpha1.Memcache, before, after []metav1.Condition, f *facts) {
	tell := func(kind, reason, action, message string) {
		r.Recorder.Eventf(m, nil, kind, reason, action, "%s", message)
	}
	if f.replaced != "" {
		tell(corev1.EventTypeNormal, v1alpha1.ReasonRollingOut, actionReplace, "replaced "+f.replaced)
	}
	for i := range after {
		c := &after[i]
		was := meta.FindStatusCondition(before, c.Type)
		if was != nil && was.Status == c.Status && was.Reason == c.Reason {
			continue
		}
		switch {
		case c.Type == v1alpha1.ConditionStalled,
			c.Type == v1alpha1.ConditionAccessConfigured && c.Status == metav1.ConditionFalse &&
				!meta.IsStatusConditionTrue(after, v1alpha1.ConditionStalled):
			tell(corev1.EventTypeWarning, c.Reason, actionReconcile, c.Message)
		case c.Type == v1alpha1.ConditionAccessEnforced:
			r.announceProof(m, was, c)
		case c.Type == v1alpha1.ConditionAccessConfigured && c.Status == metav1.ConditionTrue,
			c.Type == v1alpha1.ConditionReady && (c.Status == metav1.ConditionTrue || c.Reason == v1alpha1.ReasonPaused),
			c.Type == v1alpha1.ConditionUpdateAvailable && c.Status == metav1.ConditionTrue:
			tell(corev1.EventTypeNormal, c.Reason, actionReconcile, c.Message)
		}
	}
}
