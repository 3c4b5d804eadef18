// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
)

// roundsAnHour is how often a member is dialled where nothing happens: every ten minutes.
const roundsAnHour = 6

// spent is what the proofs have cost so far.
type spent struct {
	rounds, attempts, cpu float64
	bytes                 int64
}

// proofCost prints what a round of proofs costs: what goes through the
// outsiders' network, and the operator's processor time beyond what the same
// changes cost where nothing is proven. The fleets are those of a namespace.
func proofCost(t *testing.T, ns string, fleets []client.ObjectKey, pods []corev1.Pod, token string) {
	t.Helper()
	const changes = 8
	stir := func() {
		for i := range changes {
			p := &networkingv1.NetworkPolicy{
				ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "stir"},
				Spec: networkingv1.NetworkPolicySpec{
					PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"nobody": strconv.Itoa(i)}},
					PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
				},
			}
			if i%2 == 0 {
				check(t, cluster.Create(t.Context(), p))
			} else {
				check(t, cluster.Delete(t.Context(), p))
			}
			time.Sleep(5 * time.Second)
		}
	}
	before := measure(t, pods, token)
	stir()
	after := measure(t, pods, token)
	for _, key := range fleets {
		m := &memkeepv1alpha1.Memcache{}
		edit(t, key, m, func() { m.Spec.Access.Verification = memkeepv1alpha1.VerificationDisabled })
		_, err := cluster.Condition(t.Context(), key, enforced, metav1.ConditionUnknown,
			memkeepv1alpha1.ReasonVerificationDisabled)
		check(t, err)
	}
	time.Sleep(2 * time.Second)
	idle := measure(t, pods, token)
	stir()
	idleAfter := measure(t, pods, token)

	rounds := after.rounds - before.rounds
	if rounds < changes*float64(len(fleets))/2 {
		t.Fatalf("%d changes led to %.0f rounds: nothing is measured", changes, rounds)
	}
	if n := idleAfter.rounds - idle.rounds; n != 0 {
		t.Errorf("%.0f rounds though verification is Disabled", n)
	}
	attempts := (after.attempts - before.attempts) / rounds
	size := float64(after.bytes-before.bytes) / rounds
	cpu := ((after.cpu - before.cpu) - (idleAfter.cpu - idle.cpu)) / rounds
	t.Logf("FIGURE one round of one member: %.1f tries, %.0f bytes through the outsiders with their control port, "+
		"%.1f ms of the operator's CPU (%.0f rounds)", attempts, size, cpu*1000, rounds)
	t.Logf("FIGURE extrapolated to a fleet of three and an hour at rest (%d rounds a member): %.0f KB, %.0f tries, "+
		"%.0f ms of CPU", roundsAnHour, 3*roundsAnHour*size/1000, 3*roundsAnHour*attempts, 3*roundsAnHour*cpu*1000)
	if attempts < 5 {
		t.Errorf("%.1f tries a round: that proves little", attempts)
	}
}

// measure reads what the proofs have cost.
func measure(t *testing.T, pods []corev1.Pod, token string) spent {
	t.Helper()
	var s spent
	for i := range pods {
		_, body := scrape(t, &pods[i], token)
		for name, to := range map[string]*float64{
			"memkeep_proof_rounds_total": &s.rounds, "memkeep_proof_attempts_total": &s.attempts,
			"process_cpu_seconds_total": &s.cpu,
		} {
			for _, m := range family(t, body, name) {
				*to += m.GetCounter().GetValue()
			}
		}
	}
	outsiders := &corev1.PodList{}
	check(t, cluster.List(t.Context(), outsiders, client.InNamespace(operator.Key.Namespace+"-outsider"),
		client.MatchingLabels{memkeepv1alpha1.LabelProber: memkeepv1alpha1.ProberOutsider}))
	for i := range outsiders.Items {
		s.bytes += transferred(t, &outsiders.Items[i])
	}
	return s
}

// transferred returns the bytes that went through a pod's network, both ways.
func transferred(t *testing.T, pod *corev1.Pod) int64 {
	t.Helper()
	script := fmt.Sprintf(`exec 2>/dev/null; for e in $(grep -lsa POD_UID=%s /proc/[0-9]*/environ); do `+
		`cat ${e%%environ}net/dev && break; done`, pod.UID)
	out, err := cluster.OnNode(t.Context(), pod.Spec.NodeName, "bash", "-c", script)
	check(t, err)
	var sum int64
	found := false
	for line := range strings.SplitSeq(out, "\n") {
		name, counts, ok := strings.Cut(line, ":")
		fields := strings.Fields(counts)
		if !ok || strings.TrimSpace(name) == "lo" || len(fields) < 9 {
			continue
		}
		in, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil {
			continue // a word of some tool about a process that has ended meanwhile
		}
		out, err := strconv.ParseInt(fields[8], 10, 64)
		check(t, err)
		sum += in + out
		found = true
	}
	if !found {
		t.Fatalf("no network of %s was found: %q", pod.Name, out)
	}
	return sum
}
