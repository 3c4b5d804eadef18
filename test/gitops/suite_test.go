// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package gitops

import "testing"

// TestGitOps goes from an empty cluster to an empty cluster. What belongs to a
// mode is done for all modes side by side.
func TestGitOps(t *testing.T) {
	serial := func(name string, test func(*testing.T)) {
		t.Helper()
		if !t.Run(name, test) {
			t.FailNow()
		}
	}
	each := func(name string, test func(*testing.T, mode)) {
		t.Helper()
		serial(name, func(t *testing.T) {
			for _, m := range modes {
				t.Run(m.name, func(t *testing.T) {
					t.Parallel()
					test(t, m)
				})
			}
		})
	}
	serial("given all at once, operator and Memcaches become Synced and Healthy", allAtOnce)
	each("an autoscaler decides how many replicas there are", autoscaled)
	serial("for as long as nothing changes nothing is out of sync, unhealthy or written", quiet)
	each("more memory is Healthy when every pod is new and ready", moreMemory)
	each("more replicas are Healthy when every pod is there", moreReplicas)
	each("a bad Memcache is Degraded, and says why", badMemcache)
	each("an edit by hand is healed", editIsHealed)
	each("a Memcache that leaves git leaves the cluster", pruned)
	serial("the chart and the namespaces", func(t *testing.T) {
		t.Run("an object that is in no Application is an orphan, and nothing of ours is", func(t *testing.T) {
			t.Parallel()
			orphans(t)
		})
		t.Run("the chart does not drift in the other modes", func(t *testing.T) {
			t.Parallel()
			chartInOtherModes(t)
		})
	})
	serial("the checks can fail: a default inside a list item is drift", defaultInAListItem)
	each("a deleted Application leaves nothing", deletedApplication)
	serial("the deleted operator leaves the custom resource and nothing else", deletedOperator)
}
