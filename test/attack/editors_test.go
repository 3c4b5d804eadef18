// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package attack

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/test/harness"
)

func editorAttempts() []attempt {
	g := editorGround
	const who = "a user who may only edit Memcaches"
	return []attempt{
		{
			who: who, way: "name its own namespace as a client",
			want: ReadIt,
			why: "whoever may edit a Memcache says who gets in, unless the installation asks for the verb " +
				"`grant` (`config/admission/access`)",
			try: func(t *testing.T, want Outcome) finding {
				as := user(t, "editor", g.key.Namespace, may("memkeep.io", "memcaches", "patch"))
				g.putBack(t)
				patch := fmt.Sprintf(`[{"op":"add","path":"/spec/access/clients/-","value":{"name":"us",`+
					`"namespaceSelector":{"matchLabels":{%q:%q}}}}]`, corev1.LabelMetadataName, outsideNS)
				mc := &memkeepv1alpha1.Memcache{}
				mc.Namespace, mc.Name = g.key.Namespace, g.key.Name
				err := as.Patch(t.Context(), mc, client.RawPatch(types.JSONPatchType, []byte(patch)))
				if f := refused(t, err); f != nil {
					return *f
				}
				return until(want, func() finding {
					return everywhere(t, values(players.strangers)[:1], g.addresses(cachePort))
				})
			},
		},
		{
			who: who, way: "set the mode Audit, which admits everybody to look on",
			want: ReadIt, why: "as above; a fleet in Audit is never called secured",
			reported: "`AccessEnforced` is Unknown with the reason `AuditMode`",
			report:   auditGround.audited,
			try: func(t *testing.T, want Outcome) finding {
				as := user(t, "auditor", auditGround.key.Namespace, may("memkeep.io", "memcaches", "patch"))
				auditGround.putBack(t)
				mc := &memkeepv1alpha1.Memcache{}
				mc.Namespace, mc.Name = auditGround.key.Namespace, auditGround.key.Name
				patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"access":{"mode":"Audit"}}}`))
				if f := refused(t, as.Patch(t.Context(), mc, patch)); f != nil {
					return *f
				}
				return until(want, func() finding {
					return everywhere(t, values(players.strangers)[:1], auditGround.addresses(cachePort))
				})
			},
		},
	}
}

// putBack takes back at the test's end what an attacker changed of the fleet's access.
func (g *ground) putBack(t *testing.T) {
	t.Helper()
	before := &memkeepv1alpha1.Memcache{}
	if err := cluster.Get(t.Context(), g.key, before); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		now := &memkeepv1alpha1.Memcache{}
		err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
			if err := cluster.Get(context.Background(), g.key, now); err != nil {
				return err
			}
			now.Spec.Access = before.Spec.Access
			return cluster.Update(context.Background(), now)
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// audited looks for the condition that says that everybody is admitted.
func (g *ground) audited(t *testing.T, limit time.Duration) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cond, err := cluster.Condition(ctx, g.key, memkeepv1alpha1.ConditionAccessEnforced,
		metav1.ConditionUnknown, memkeepv1alpha1.ReasonAuditMode)
	if err != nil {
		t.Log(err)
		return ""
	}
	return fmt.Sprintf("`%s` is %s with the reason `%s`", cond.Type, cond.Status, cond.Reason)
}

func namespaceAttempts() []attempt {
	const who = "a user who may only label namespaces"
	g := labelsGround
	type sender func(*testing.T, *harness.Cluster, *corev1.Namespace, []byte) error
	label := func(name, resource, verb string, send sender) func(*testing.T, Outcome) finding {
		return func(t *testing.T, want Outcome) finding {
			namespace := "attack-" + name
			if err := cluster.MakeNamespace(t.Context(), namespace, map[string]string{ours: "true"}); err != nil {
				t.Fatal(err)
			}
			as := user(t, name, "", may("", resource, verb))
			ns := &corev1.Namespace{}
			ns.Name = namespace
			patch := fmt.Sprintf(`{"metadata":{"labels":{%q:"true"}}}`, memkeepv1alpha1.ClientLabel(g.key.Namespace, g.key.Name))
			if f := refused(t, send(t, as, ns, []byte(patch))); f != nil {
				return *f
			}
			pod, err := cluster.StartPod(t.Context(), harness.DialerPod{Namespace: namespace, Name: "joined", Labels: web})
			if err != nil {
				t.Fatal(err)
			}
			return until(want, func() finding { return everywhere(t, []harness.Pod{at(pod)}, g.addresses(cachePort)) })
		}
	}
	why := "the label takes the verb `grant` on the Memcache that it names (`memkeep-namespace-labels`)"
	finalize := func(t *testing.T, as *harness.Cluster, ns *corev1.Namespace, patch []byte) error {
		now := &corev1.Namespace{}
		if err := cluster.Get(t.Context(), client.ObjectKeyFromObject(ns), now); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(patch, now); err != nil {
			t.Fatal(err)
		}
		_, err := as.Kube.CoreV1().Namespaces().Finalize(t.Context(), now, metav1.UpdateOptions{})
		return err
	}
	patch := func(sub string) sender {
		return func(t *testing.T, as *harness.Cluster, ns *corev1.Namespace, patch []byte) error {
			raw := client.RawPatch(types.MergePatchType, patch)
			if sub != "" {
				return as.SubResource(sub).Patch(t.Context(), ns, raw)
			}
			return as.Patch(t.Context(), ns, raw)
		}
	}
	return []attempt{
		{
			who: who, way: "give its own namespace the fleet's client label",
			want: RefusedByAdmission, why: why,
			try: label("labeller", "namespaces", "patch", patch("")),
		},
		{
			who: who, way: "the same through the subresource status",
			want: RefusedByAdmission, why: why,
			try: label("status-labeller", "namespaces/status", "patch", patch("status")),
		},
		{
			who: who, way: "the same through the subresource finalize",
			want: RefusedByAdmission, why: why,
			try: label("finalize-labeller", "namespaces/finalize", "update", finalize),
		},
	}
}
