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

func TestFleetsAreCountedByAccess(t *testing.T) {
	plain, verified, audit, tightened := *sessions(), *sessions(), *sessions(), *sessions()
	verified.Spec.Access.Peers = v1alpha1.PeersVerified
	verified.Spec.Access.Verification = v1alpha1.VerificationRequired
	audit.Spec.Access.Mode = v1alpha1.AccessAudit
	audit.Status.Access = &v1alpha1.AccessStatus{WouldBeCutOff: new(int32(3))}
	// What a change of access cut off is no more connected.
	tightened.Status.Access = &v1alpha1.AccessStatus{WouldBeCutOff: new(int32(5))}
	by, cutOff := audiences([]v1alpha1.Memcache{plain, verified, audit, tightened})
	for labels, want := range map[[3]string]float64{
		{"Enforce", "Policy", "BestEffort"}: 2,
		{"Enforce", "Verified", "Required"}: 1,
		{"Audit", "Policy", "BestEffort"}:   1,
	} {
		if by[labels] != want {
			t.Errorf("%v: %v, want %v", labels, by[labels], want)
		}
	}
	if len(by) != 3 || cutOff != 3 {
		t.Errorf("%v, and %v would be cut off", by, cutOff)
	}
}
