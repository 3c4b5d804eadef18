// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// oomKilled is the reason that the kubelet gives for a container over its limit.
const oomKilled = "OOMKilled"

// passing are waiting reasons of a container that is just starting.
var passing = []string{"", "ContainerCreating", "PodInitializing"}

// hindrance says why a pod does not get ready; empty while it is starting as
// pods do.
func hindrance(p *corev1.Pod) string {
	if isReady(p) || !p.DeletionTimestamp.IsZero() {
		return ""
	}
	if p.Status.Phase == corev1.PodFailed {
		if p.Status.Reason != "" {
			return p.Status.Reason
		}
		return string(p.Status.Phase)
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return c.Reason + ", " + truncated(c.Message)
		}
	}
	for i := range p.Status.ContainerStatuses {
		if why := trouble(&p.Status.ContainerStatuses[i]); why != "" {
			return why
		}
	}
	return ""
}

// trouble says what is wrong with a container. What ended it last time tells
// more than that it is being restarted.
func trouble(c *corev1.ContainerStatus) string {
	last := c.LastTerminationState.Terminated
	waiting := c.State.Waiting
	switch {
	case last != nil && last.Reason == oomKilled:
		return oomKilled
	case c.State.Terminated != nil:
		return c.State.Terminated.Reason
	case waiting != nil && !slices.Contains(passing, waiting.Reason):
		return waiting.Reason
	}
	return ""
}
