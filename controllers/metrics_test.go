// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

func TestFleetsAreCountedByCondition(t *testing.T) {
	ready, stalled, fresh := *sessions(), *sessions(), *sessions()
	ready.Status = statusOf(&ready, healthy())
	stalled.Status = statusOf(&stalled, healthy(func(f *facts) { f.podRefusal = "exceeded quota" }))
	fleets, members := summarise([]v1alpha1.Memcache{ready, stalled, fresh})
	for condition, want := range map[string][3]float64{
		v1alpha1.ConditionReady:          {1, 1, 1},
		v1alpha1.ConditionStalled:        {1, 2, 0},
		v1alpha1.ConditionAccessEnforced: {0, 0, 3},
	} {
		got := fleets[condition]
		if got[metav1.ConditionTrue] != want[0] || got[metav1.ConditionFalse] != want[1] ||
			got[metav1.ConditionUnknown] != want[2] {
			t.Errorf("%s: %v, want %v", condition, got, want)
		}
	}
	if members["wanted"] != 6 || members["ready"] != 4 {
		t.Errorf("members are %v", members)
	}
}
