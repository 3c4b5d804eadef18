// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// slow is a finalizer that keeps a terminating pod in place, as a kubelet keeps
// it while its processes end.
const slow = "test.memkeep.io/terminating"

// kubelet plays the kubelet for one namespace: it marks pods as ready.
type kubelet struct {
	mu sync.Mutex
	// state says what becomes of a pod; nil makes every pod ready.
	state func(*corev1.Pod) corev1.ConditionStatus
}

// decide sets what becomes of pods from now on.
func (k *kubelet) decide(state func(*corev1.Pod) corev1.ConditionStatus) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state = state
}

func (k *kubelet) verdict(p *corev1.Pod) corev1.ConditionStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state == nil {
		return corev1.ConditionTrue
	}
	return k.state(p)
}

func startKubelet(t *testing.T, namespace string) *kubelet {
	t.Helper()
	k := &kubelet{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			k.round(ctx, t, namespace)
			time.Sleep(30 * time.Millisecond)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return k
}

// round looks at every pod once.
func (k *kubelet) round(ctx context.Context, t *testing.T, namespace string) {
	list := &corev1.PodList{}
	if err := kube.List(ctx, list, client.InNamespace(namespace)); err != nil {
		if ctx.Err() == nil {
			t.Errorf("kubelet: %v", err)
		}
		return
	}
	for i := range list.Items {
		p := &list.Items[i]
		want := k.verdict(p)
		if !p.DeletionTimestamp.IsZero() || status(p) == want {
			continue
		}
		p.Status.Phase = corev1.PodRunning
		p.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodReady, Status: want, LastTransitionTime: metav1.Now(),
		}}
		err := kube.Status().Update(ctx, p)
		if err != nil && ctx.Err() == nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			t.Errorf("kubelet: %v", err)
		}
	}
}

func status(p *corev1.Pod) corev1.ConditionStatus {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status
		}
	}
	return corev1.ConditionUnknown
}
