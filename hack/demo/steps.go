// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/test/dialer/dialing"
	"github.com/memkeep/memkeep/test/harness"
)

// client shows how one who is named uses the cache.
func (d *demo) client(ctx context.Context) error {
	d.step("A client: a pod in a namespace labelled %s", labelText(d.clientLabels))
	d.say("dials %s", d.member)
	t, err := d.stores(ctx)
	d.transcript(t.Lines)
	d.promise(err, "a client stores and reads back", "")
	return nil
}

// stores has the client store the catchphrase and read it back.
func (d *demo) stores(ctx context.Context) (harness.Transcript, error) {
	if _, err := d.LetIn(ctx, d.friend, d.member, harness.LabelLimit); err != nil {
		return harness.Transcript{}, err
	}
	if d.keep {
		// An earlier run stored the key; `add` is for keys that are not there.
		if t, err := d.Talk(ctx, d.friend, d.member, "delete catchphrase"); err != nil {
			return t, err
		}
	}
	return d.Store(ctx, d.friend, d.member)
}

// stranger shows what everybody else gets, near and far.
func (d *demo) stranger(ctx context.Context) error {
	d.step("A stranger: a pod like it, in a namespace without the label, tries the same")
	d.turnedAway(ctx, d.near, "a stranger on the cache's node is shut out")
	if d.far.Name == "" {
		d.say("there is one node only; RECREATE=1 NODES=2 make demo shows a stranger on another node too")
		return nil
	}
	d.turnedAway(ctx, d.far, "a stranger on another node is shut out")
	return nil
}

// turnedAway dials the decoy, then the cache, and shows both.
func (d *demo) turnedAway(ctx context.Context, from harness.Pod, promise string) {
	report, err := d.ShutOut(ctx, from, d.decoy, d.member)
	if report.Address == d.member {
		d.say("dials a pod beside the cache that no policy guards: connected, so its network works")
	}
	d.say("dials %s: %s", report.Address, told(report))
	d.open = d.open || report.Address == d.member && report.Outcome == dialing.Connected
	d.promise(err, promise, "nothing could be sent")
}

// told says how a dial went.
func told(r dialing.Report) string {
	return fmt.Sprintf("%s after %.1f s", r.Outcome, float64(r.Millis)/1000)
}

// proof shows what Memkeep found out by itself.
func (d *demo) proof(ctx context.Context) error {
	if a := &d.fleet.Spec.Access; a.EffectiveMode() == memkeepv1alpha1.AccessAudit ||
		a.EffectiveVerification() == memkeepv1alpha1.VerificationDisabled {
		return nil
	}
	key := client.ObjectKeyFromObject(d.fleet)
	d.step("kubectl get memcache -n %s %s: Memkeep's own strangers have tried, too", key.Namespace, key.Name)
	var cond *metav1.Condition
	_, err := d.Eventually(ctx, "a verdict", time.Minute, func(ctx context.Context) error {
		if err := d.Get(ctx, key, d.fleet); err != nil {
			return err
		}
		cond = meta.FindStatusCondition(d.fleet.Status.Conditions, memkeepv1alpha1.ConditionAccessEnforced)
		switch {
		case cond == nil:
			return errors.New("AccessEnforced is not there")
		case cond.Status == metav1.ConditionUnknown:
			return fmt.Errorf("AccessEnforced is Unknown: %s", cond.Message)
		}
		return nil
	})
	if err == nil && cond.Status != metav1.ConditionTrue {
		err = fmt.Errorf("AccessEnforced is %s, %s: %s", cond.Status, cond.Reason, cond.Message)
	}
	says := ""
	if cond != nil {
		says = "AccessEnforced: " + cond.Message
	}
	d.promise(err, "that the network enforces the policy is proven", says)
	return nil
}

// forward shows that a port-forward, which walks round every policy, finds nobody.
func (d *demo) forward(ctx context.Context) error {
	d.step("kubectl port-forward -n %s pod/%s %d, with a cluster administrator's rights",
		d.fleet.Namespace, d.pod.Name, memkeepv1alpha1.PortCache)
	lines, err := d.forwarded(ctx)
	d.transcript(lines)
	d.promise(err, "a port-forward does not walk round the policy", "the cache does not listen on loopback")
	return nil
}

// forwarded sends a command through a port-forward and returns what came of it.
func (d *demo) forwarded(ctx context.Context) ([]string, error) {
	pod := harness.Pod{Namespace: d.pod.Namespace, Name: d.pod.Name}
	outcome, cause, err := d.ForwardedTalk(ctx, pod, memkeepv1alpha1.PortCache, "version")
	lines := []string{"> version"}
	switch {
	case err != nil:
		return nil, err
	case outcome == dialing.Connected:
		return lines, errors.New("the cache answered")
	case cause == "":
		return lines, fmt.Errorf("it was %s for no reason that the kubelet gave", outcome)
	}
	return append(lines, fmt.Sprintf("  %s: %s", outcome, cause)), nil
}

// rebirth deletes a pod and waits for the next.
func (d *demo) rebirth(ctx context.Context) error {
	d.step("kubectl delete pod -n %s %s", d.fleet.Namespace, d.pod.Name)
	old := d.pod
	if err := d.Delete(ctx, old.DeepCopy()); err != nil {
		return err
	}
	took, err := d.Eventually(ctx, "a new pod", time.Minute, func(ctx context.Context) error {
		pod := &corev1.Pod{}
		if err := d.Get(ctx, client.ObjectKeyFromObject(old), pod); err != nil {
			return err
		}
		if pod.UID == old.UID || !harness.Ready(pod) {
			return fmt.Errorf("the new pod is not there yet")
		}
		d.pod = pod
		return nil
	})
	d.promise(err, "a deleted cache pod comes back",
		fmt.Sprintf("ready after %.1f s, under the same name", took.Seconds()))
	if err != nil {
		return err
	}
	d.promise(d.letInAgain(ctx), "the client is let in to it", "a cache starts empty")
	return nil
}

// letInAgain has the client ask the new pod for what the old one had.
func (d *demo) letInAgain(ctx context.Context) error {
	addr := harness.CacheAddress(d.pod)
	if _, err := d.LetIn(ctx, d.friend, addr, harness.LabelLimit); err != nil {
		return err
	}
	t, err := d.Talk(ctx, d.friend, addr, harness.ReadLine)
	d.transcript(t.Lines)
	if err == nil && !slices.Equal(t.Replies(), []string{"END"}) {
		err = fmt.Errorf("the conversation was %s", t)
	}
	return err
}

// label lets the stranger in and out again.
func (d *demo) label(ctx context.Context) error {
	addr := harness.CacheAddress(d.pod)
	namespace := &corev1.Namespace{}
	namespace.Name = d.near.Namespace
	d.step("kubectl label namespace %s %s", namespace.Name, labelText(d.clientLabels))
	if err := d.Label(ctx, namespace, d.clientLabels); err != nil {
		return err
	}
	took, err := d.LetIn(ctx, d.near, addr, harness.LabelLimit)
	if err == nil {
		var t harness.Transcript
		t, err = d.Store(ctx, d.near, addr)
		d.transcript(t.Lines)
	}
	d.promise(err, "the label lets the stranger in", fmt.Sprintf("after %.1f s", took.Seconds()))

	removed := map[string]string{}
	var words []string
	for key := range d.clientLabels {
		removed[key] = ""
		words = append(words, key+"-")
	}
	d.step("kubectl label namespace %s %s", namespace.Name, strings.Join(words, " "))
	if err := d.Label(ctx, namespace, removed); err != nil {
		return err
	}
	took, err = d.KeptOut(ctx, d.near, d.decoy, addr, harness.LabelLimit)
	d.promise(err, "without the label new connections are shut out again", fmt.Sprintf("after %.1f s", took.Seconds()))
	return nil
}
