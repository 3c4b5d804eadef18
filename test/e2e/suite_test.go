// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import "testing"

// row is a test under the sentence that it shows.
type row struct {
	name string
	test func(*testing.T)
}

func serial(t *testing.T, rows ...row) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, r.test)
	}
}

func sideBySide(t *testing.T, rows ...row) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			r.test(t)
		})
	}
}

// TestFigures comes first, while nothing else goes on.
func TestFigures(t *testing.T) {
	serial(t,
		row{"one Memcache becomes ready", oneBecomesReady},
		row{"twenty Memcaches become ready", twentyBecomeReady},
	)
}

// TestPromises dials. Its tests have namespaces of their own and run side by side.
func TestPromises(t *testing.T) {
	sideBySide(t,
		row{"only who is named gets in", access},
		row{"labels let in and shut out", labelsLetInAndShutOut},
		row{"with verified peers the client pods are served and nobody else", verifiedPeers},
		row{"in mode Audit strangers are served and counted", audit},
		row{"the checks can fail", theChecksCanFail},
		row{"a widened policy is taken back", aWidenedPolicyIsTakenBack},
		row{"what is said to widen access is what strangers find", theVerdictIsWhatStrangersFind},
		row{"a deleted pod comes back", aDeletedPodComesBack},
		row{"the operator alone reaches control ports", controlPorts},
		row{"a fleet is proven within seconds of its start", provenSoon},
		row{"Required serves while it is proven and not otherwise", requiredServesWhileProven},
		row{"the scale subresource scales", scale},
		row{"an autoscaler scales", autoscaler},
		row{"a quota's refusal is told", quotaIsTold},
		row{"a name clash stops everything", aNameClashStopsEverything},
		row{"a node's pods are replaced", aNodesPodsAreReplaced},
		row{"the policy outlives the last pod", thePolicyOutlivesTheLastPod},
		row{"the policy outlives a deleted namespace", thePolicyOutlivesADeletedNamespace},
	)
}

// TestOperator disturbs the operator, so that nothing else can go on beside.
func TestOperator(t *testing.T) {
	serial(t,
		row{"killed in the middle of its work it catches up", killedInTheMiddle},
		row{"restarted, it speaks to every member again", controlComesBack},
		row{"restarted or upgraded it leaves pods alone until asked", leavesPodsAlone},
		row{"probers are admitted to no fleet", probersAreStrangers},
		row{"without probers nothing is called proven, and who was proven serves on", withoutProbers},
		row{"its metrics ask who reads them, and in a quiet minute it writes nothing", quietMinute},
	)
}

// TestDemo runs what a newcomer runs.
func TestDemo(t *testing.T) {
	serial(t, row{"the demo keeps every promise on one screen", demo})
}

// TestUninstall comes last: it takes the operator away.
func TestUninstall(t *testing.T) {
	serial(t,
		row{"first the operator, then the CRD", operatorThenCRD},
		row{"the whole installation at once", everythingAtOnce},
	)
}
