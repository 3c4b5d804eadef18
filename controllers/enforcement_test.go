// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/access"
	"github.com/memkeep/memkeep/controllers/proof"
)

func TestWhatAProofSaysIsToldAndReadyAsksForItOnlyWhereRequired(t *testing.T) {
	const yes, no, unknown = metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown
	report := func(status metav1.ConditionStatus, reason, message string) *proof.Report {
		return &proof.Report{Finding: access.Finding{
			Status: status, Reason: reason, Message: message, NotCovered: []string{"the moon"},
		}}
	}
	notReady := func(f *facts) { f.pods[1] = podOf(1, "new", false) }
	tests := map[string]struct {
		verification v1alpha1.Verification
		change       func(*facts)
		report       *proof.Report
		enforced     metav1.ConditionStatus
		ready        metav1.ConditionStatus
		readyReason  string
		says         string
	}{
		"nobody proves": {"", nil, nil, unknown, yes, v1alpha1.ReasonMembersReady, ""},
		"proven":        {"", nil, report(yes, v1alpha1.ReasonEnforcementProven, "all"), yes, yes, v1alpha1.ReasonMembersReady, ""},
		"refuted, which BestEffort reports": {
			"", nil, report(no, v1alpha1.ReasonStrangerAdmitted, "x gets in"), no, yes, v1alpha1.ReasonMembersReady, "",
		},
		"refuted, which Required takes for broken": {
			v1alpha1.VerificationRequired, nil, report(no, v1alpha1.ReasonStrangerAdmitted, "x gets in"), no, no,
			v1alpha1.ReasonStrangerAdmitted, "nobody is served while strangers get in: x gets in",
		},
		"Required waits": {
			v1alpha1.VerificationRequired, notReady, report(unknown, v1alpha1.ReasonNoProber, "there is none"), unknown, no,
			v1alpha1.ReasonMembersNotReady, "members serve once they are proven: there is none",
		},
		"BestEffort does not wait for a proof": {
			"", notReady, report(unknown, v1alpha1.ReasonNoProber, "there is none"), unknown, no,
			v1alpha1.ReasonMembersNotReady, "1 of 2 members are ready",
		},
		"what was proven once serves on where nobody can say more": {
			v1alpha1.VerificationRequired, nil, report(unknown, v1alpha1.ReasonMemberUnreachable, "gone"), unknown, yes,
			v1alpha1.ReasonMembersReady, "",
		},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			m := sessions(func(m *v1alpha1.Memcache) { m.Spec.Access.Verification = c.verification })
			f := healthy()
			if c.change != nil {
				c.change(f)
			}
			f.proof = c.report
			s := statusOf(m, f)
			enforced := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionAccessEnforced)
			if enforced.Status != c.enforced {
				t.Errorf("AccessEnforced is %s %s", enforced.Status, enforced.Reason)
			}
			ready := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
			if ready.Status != c.ready || ready.Reason != c.readyReason || !strings.Contains(ready.Message, c.says) {
				t.Errorf("Ready is %s %s: %s", ready.Status, ready.Reason, ready.Message)
			}
			if c.report != nil && (s.Access == nil || len(s.Access.NotCovered) != 1) {
				t.Errorf("status.access is %+v", s.Access)
			}
		})
	}
}

func TestAMemberIsCalledWhatItsOwnPodWasProvenToBe(t *testing.T) {
	f := healthy()
	f.pods[0].UID, f.pods[1].UID = "a", "b"
	f.proof = &proof.Report{Members: map[types.UID]v1alpha1.Enforcement{
		"a": v1alpha1.EnforcementProven, "an earlier pod of that name": v1alpha1.EnforcementProven,
	}}
	s := statusOf(sessions(), f)
	if s.Members[0].Enforcement != v1alpha1.EnforcementProven || s.Members[1].Enforcement != "" {
		t.Errorf("members are %+v", s.Members)
	}
}

func TestAMemberCountsAsStartedOnceTheKubeletsProbeHasPassed(t *testing.T) {
	p := podOf(0, "new", true)
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "cache-server", ContainerID: "c1",
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}},
	}}
	if m := memberOf(&p); !m.Since.IsZero() {
		t.Error("it counts before")
	}
	p.Status.ContainerStatuses[0].Started = new(true)
	if m := memberOf(&p); m.Since.IsZero() || m.Started != "c1" {
		t.Errorf("got %+v", m)
	}
}
